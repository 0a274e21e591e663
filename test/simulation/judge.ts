import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import { KEY_BYTES } from './applications.ts';

/** Indexes that were burned at one end of a stream. */
export interface Drop {
  readonly stream: string;
  readonly end: 0 | 1;
  readonly first: number;
  readonly count: number;
}

export interface Evidence {
  readonly history: readonly HistoryEntry[];
  /** Streams of which an application has named indexes. */
  readonly named: ReadonlySet<string>;
  readonly drops: readonly Drop[];
  /** What applications and watchers have noted while it ran. */
  readonly complaints: readonly string[];
  /** Applications that have had no key since the faults ended. */
  readonly unserved: readonly string[];
  /** What gateways hold when everybody has closed. */
  readonly left: readonly string[];
  /** Secrets that were not wiped. */
  readonly secrets: readonly string[];
  /** QKD streams that are open at the key managers. */
  readonly qkd: readonly string[];
}

/** What must never be, one line each. */
export function judge({
  history,
  named,
  drops,
  complaints,
  unserved,
  left,
  secrets,
  qkd,
}: Evidence): string[] {
  return [
    ...breaches(history, KEY_BYTES, (ksid) => named.has(ksid)),
    ...alone(history, drops),
    ...new Set(complaints),
    ...unserved.map((name) => `${name} gets no keys though nothing is wrong any more`),
    ...left.map((what) => `left when everybody had closed: ${what}`),
    ...counted(secrets).map((what) => `not wiped: ${what}`),
    ...(qkd.length > 0 ? [`${qkd.length} QKD streams were left open`] : []),
  ];
}

function counted(names: readonly string[]): string[] {
  return [...Map.groupBy(names, (name) => name)].map(([name, all]) => `${all.length} times ${name}`);
}

/** Keys that one end has given away though the other has dropped them: not both had confirmed them. */
function alone(history: readonly HistoryEntry[], drops: readonly Drop[]): string[] {
  const given = new Map<string, HistoryEntry>();
  for (const entry of history) {
    if (entry.op === 'GET_KEY' && entry.status === 0)
      given.set(`${entry.ksid}/${entry.end}/${entry.index}`, entry);
  }
  const found: string[] = [];
  for (const { stream, end, first, count } of drops) {
    for (let index = first; index < first + count; index++) {
      const key = given.get(`${stream}/${1 - end}/${index}`);
      if (key) found.push(`${stream} index ${index}: given at end ${1 - end}, dropped at end ${end}`);
    }
  }
  return found;
}
