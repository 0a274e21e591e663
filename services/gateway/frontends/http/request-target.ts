import { BadRequestError } from './bad-request-error.ts';

/** What a request asks for by its target (RFC 9112, 3.2). */
export interface RequestTarget {
  /** What stands between the slashes of the path, decoded; a slash at its end counts for nothing. */
  readonly segments: readonly string[];
  readonly query: string;
}

/** Members of a query; each stands in it once. */
export type Query = Readonly<Record<string, string | undefined>>;

const ORIGIN = /^https?:\/\/[^/?#]*/i;

const NONE: Query = Object.freeze(Object.create(null));

/** @throws BadRequestError for a path that is no text in UTF-8. */
export function readTarget(url: string): RequestTarget {
  const target = url.startsWith('/') ? url : url.replace(ORIGIN, '');
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const start = path.startsWith('/') ? 1 : 0;
  const end = path.length > 1 && path.endsWith('/') ? -1 : undefined;
  const segments = path.slice(start, end).split('/');
  return {
    segments: path.includes('%') ? segments.map((each) => decoded(each, 'the path')) : segments,
    query: mark < 0 ? '' : target.slice(mark + 1),
  };
}

/**
 * Reads a query as forms write it: a plus sign is a blank.
 *
 * @throws BadRequestError where a member stands twice, or is no text in UTF-8.
 */
export function readQuery(text: string): Query {
  if (text === '') return NONE;
  const members: Record<string, string> = Object.create(null);
  for (const each of text.split('&')) {
    if (each === '') continue;
    const mark = each.indexOf('=');
    const name = decodedMember(mark < 0 ? each : each.slice(0, mark));
    if (name in members) throw new BadRequestError('a member of the query stands in it twice');
    members[name] = mark < 0 ? '' : decodedMember(each.slice(mark + 1));
  }
  return members;
}

function decodedMember(text: string): string {
  return decoded(text.includes('+') ? text.replaceAll('+', ' ') : text, 'the query');
}

function decoded(text: string, what: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    throw new BadRequestError(`${what} cannot be read`);
  }
}
