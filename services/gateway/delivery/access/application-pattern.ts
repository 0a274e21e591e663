/** `scheme://[user@]host[:port]…` (RFC 3986), without what follows the host. */
const URI = /^([a-z][a-z0-9+.-]*):\/\/(?:([^@/?#\s]*)@)?(\[[^\]\s]*\]|[^:/?#\s]+)/i;

/**
 * The name of the application that a URI means: what stands before the `@`,
 * else its host. A text that is no URI is a name.
 */
function nameOf(uri: string): string {
  const [, , user, host] = URI.exec(uri) ?? [];
  return user ?? host?.toLowerCase() ?? uri;
}

/** A URI without its query, in the letters in which it is compared: nothing but a path tells upper from lower case, and a name. */
function bare(uri: string): string {
  const [text = ''] = uri.split(/[?#]/);
  const whole = text.replace(/\/$/, '');
  const [head = '', , user, host = ''] = URI.exec(whole) ?? [];
  if (head === '') return whole;
  const scheme = head.slice(0, head.indexOf(':')).toLowerCase();
  const rest = whole.slice(head.length);
  return `${scheme}://${user === undefined ? '' : `${user}@`}${host.toLowerCase()}${rest}`;
}

/**
 * Whether what an entry of `access.clients` names is the application of a URI:
 * the URI without its query, or its name, to the letter or, before a `*` at
 * the end, as far as that.
 */
export function isNamed(pattern: string, uri: string): boolean {
  const isPrefix = pattern.endsWith('*');
  const wanted = isPrefix ? pattern.slice(0, -1) : pattern;
  if (wanted.includes('://')) {
    const found = bare(uri);
    return isPrefix ? found.startsWith(lowerHead(wanted)) : found === bare(wanted);
  }
  const name = nameOf(uri);
  return isPrefix ? name.startsWith(wanted) : name === wanted;
}

/** The beginning of a URI, whose host may be cut off. */
function lowerHead(start: string): string {
  const from = start.indexOf('@') + 1;
  const scheme = start.indexOf('://');
  const head = start.slice(0, scheme).toLowerCase();
  return from === 0
    ? `${head}${start.slice(scheme)}`
    : `${head}${start.slice(scheme, from)}${start.slice(from).toLowerCase()}`;
}
