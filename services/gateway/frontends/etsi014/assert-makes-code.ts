import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/**
 * The library's router makes code from strings; where it may not, the process
 * dies of that and not in words.
 *
 * @param setting what is in need of it, for the message.
 * @throws KeyweaveError BAD_CONFIG
 */
export function assertMakesCode(setting: string): void {
  try {
    new Function('');
  } catch (cause) {
    const detail = `${setting}: needs a Node that makes code from strings; start it without --disallow-code-generation-from-strings`;
    throw new KeyweaveError('BAD_CONFIG', detail, { cause });
  }
}
