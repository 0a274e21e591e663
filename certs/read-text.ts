import { readFileSync } from 'node:fs';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemCodeInWords, systemCodeOf } from '#common/errors/system-error.ts';

/**
 * Reads a text file.
 *
 * @param advice what to do where it is missing.
 * @throws KeyweaveError BAD_CONFIG naming the file, why it cannot be read, and the advice.
 */
export function readText(path: string, advice: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const code = systemCodeOf(cause);
    const what =
      code === undefined || code === 'ENOENT'
        ? `missing ${path}; ${advice}`
        : `${path}: ${systemCodeInWords(code)}`;
    throw new KeyweaveError('BAD_CONFIG', what, { cause });
  }
}
