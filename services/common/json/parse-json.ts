import { KeyweaveError } from '#common/errors/keyweave-error.ts';

const BLANKS = /[ \t\n\r]+/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
const QUOTE = /"/y;
// Control characters have to be escaped in a string (RFC 8259, 7).
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const PLAIN = /[^"\\\u0000-\u001f]+/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/**
 * Parses a JSON text. What is wrong with it is told by line and column alone:
 * the run time's own message quotes the text, which may hold a secret.
 *
 * @param what names the text in the error, e.g. the path of its file.
 * @throws KeyweaveError BAD_CONFIG, without a cause.
 */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KeyweaveError('BAD_CONFIG', `${what}: is not JSON (${placeOf(text, findJsonError(text))})`);
  }
}

/** Where in `text` the first character stands that JSON (RFC 8259) does not allow there; undefined where all is well. */
export function findJsonError(text: string): number | undefined {
  let at = 0;
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const found = pattern.test(text);
    if (found) at = pattern.lastIndex;
    return found;
  };
  const skipString = (): boolean => {
    if (!skip(QUOTE)) return false;
    while (skip(PLAIN) || skip(ESCAPE));
    return skip(QUOTE);
  };

  /** What closes the objects and lists that are open. */
  const closers: string[] = [];
  let next: 'value' | 'name' | 'more' = 'value';
  /** The object or list has just begun, so that it may be empty. */
  let first = false;
  for (;;) {
    skip(BLANKS);
    const char = text[at];
    const closer = closers.at(-1);
    if (next === 'more' && closer === undefined) return at === text.length ? undefined : at;
    if ((next === 'more' || first) && char === closer) {
      closers.pop();
      at += 1;
      next = 'more';
      first = false;
    } else if (next === 'more') {
      if (char !== ',') return at;
      at += 1;
      next = closer === '}' ? 'name' : 'value';
    } else if (next === 'name') {
      if (!skipString()) return at;
      skip(BLANKS);
      if (text[at] !== ':') return at;
      at += 1;
      next = 'value';
      first = false;
    } else if (char === '{' || char === '[') {
      closers.push(char === '{' ? '}' : ']');
      at += 1;
      next = char === '{' ? 'name' : 'value';
      first = true;
    } else {
      if (!skip(WORD) && !skip(NUMBER) && !skipString()) return at;
      next = 'more';
      first = false;
    }
  }
}

/** Both counted from 1; columns in UTF-16 units. */
function placeOf(text: string, index = text.length): string {
  const before = text.slice(0, index);
  const line = before.split('\n').length;
  const column = index - before.lastIndexOf('\n');
  return `${index === text.length ? 'it ends at ' : ''}line ${line}, column ${column}`;
}
