import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { UUID } from '#common/ids/uuid.ts';

const MAX_URI_BYTES = 4096;

const URI = /^hybrid:\/\/[^@/?#\s]+@([^@/?#\s]+)\/?(?:\?([^#\s]*))?$/i;

/** Every parameter of a query. */
const PARAMETERS = ['hybridization', 'kem_mec', 'key_sources'] as const;

/** Edits between a name that nobody knows and the one that is suggested, at most. */
const MAX_EDITS = 3;

/** Longest name that is compared, so that nobody makes the comparison costly. */
const MAX_COMPARED = 32;

export interface ApplicationUri {
  /** UUID of the node, in lower case. */
  readonly node: string;
  /** Known parameters, each at most once; null where the URI leaves it out. */
  parameter(name: (typeof PARAMETERS)[number]): string | null;
}

/**
 * Reads `hybrid://<name>@<node uuid>?hybridization=…`; `what` names the URI in
 * messages.
 *
 * @throws KeyweaveError NO_ROUTE for a URI that cannot be read or says
 *   something twice, UNSUPPORTED for a parameter that nobody knows.
 */
export function parseApplicationUri(what: 'source' | 'destination', uri: string): ApplicationUri {
  if (uri.length > MAX_URI_BYTES)
    throw new KeyweaveError('NO_ROUTE', `the ${what} URI is over ${MAX_URI_BYTES} bytes`);
  const [, name = '', text] = URI.exec(uri) ?? [];
  const node = name.toLowerCase();
  if (!UUID.test(node)) {
    throw new KeyweaveError(
      'NO_ROUTE',
      `the ${what} is not of the form hybrid://<name>@<node uuid>?hybridization=<method>&kem_mec=<KEM>: ${quote(uri)}`,
    );
  }
  const query = new URLSearchParams(text);
  assertParameters(what, query);
  return { node, parameter: (name) => query.get(name) };
}

/** Client text in a message: short and on one line. */
export function quote(text: string): string {
  const short = text.length > 120 ? `${text.slice(0, 120)}…` : text;
  return JSON.stringify(short);
}

/** What is misspelt must not be passed over: the stream would open on the defaults, which may be weaker. */
function assertParameters(what: string, query: URLSearchParams): void {
  const seen = new Set<string>();
  for (const name of query.keys()) {
    if (!PARAMETERS.some((known) => known === name)) {
      const nearest = nearestParameter(name);
      throw new KeyweaveError(
        'UNSUPPORTED',
        `the ${what} URI has a parameter ${quote(name)} that nobody knows; ${
          nearest === undefined
            ? 'there are hybridization, kem_mec and key_sources'
            : `did you mean ${nearest}?`
        }`,
      );
    }
    if (seen.has(name)) throw new KeyweaveError('NO_ROUTE', `the ${what} URI gives ${name} more than once`);
    seen.add(name);
  }
}

function nearestParameter(name: string): string | undefined {
  if (name.length > MAX_COMPARED) return undefined;
  const lower = name.toLowerCase();
  // No name is so near to two of them.
  return PARAMETERS.find((known) => editDistance(lower, known) <= MAX_EDITS);
}

/** Letters to insert, remove or replace to make `b` of `a` (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const above = row;
    row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (above[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (above[j] as number) + 1, (row[j - 1] as number) + 1));
    }
  }
  return row[b.length] as number;
}
