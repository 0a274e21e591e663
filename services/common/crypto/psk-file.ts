import { readFileSync } from 'node:fs';
import { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Bytes of a pre-shared key. */
const LEAST = 16;
const MOST = 64;

/** What may follow the digits in the file. */
const BLANKS = [0x20, 0x09, 0x0a, 0x0d];

/**
 * Reads a pre-shared key of TLS, as hexadecimal digits. The text never becomes
 * a string, and is wiped.
 *
 * @returns the key, which the caller wipes.
 * @throws KeyweaveError BAD_CONFIG that names the file where it holds no such key; as readFileSync where it cannot be read.
 */
export function readPsk(path: string): Secret {
  const text = readFileSync(path);
  try {
    let digits = text.length;
    while (digits > 0 && BLANKS.includes(text[digits - 1] as number)) digits -= 1;
    const values = Array.from({ length: Math.min(digits, 2 * MOST + 1) }, (_, i) =>
      digitOf(text[i] as number),
    );
    if (digits % 2 !== 0 || digits < 2 * LEAST || digits > 2 * MOST || values.includes(-1)) {
      const detail = `${path} is no pre-shared key: ${2 * LEAST} to ${2 * MOST} hexadecimal digits, two for each byte`;
      throw new KeyweaveError('BAD_CONFIG', detail);
    }
    const key = Buffer.allocUnsafeSlow(digits / 2);
    for (let i = 0; i < key.length; i++) {
      key[i] = ((values[2 * i] as number) << 4) | (values[2 * i + 1] as number);
    }
    values.fill(0);
    return new Secret(key);
  } finally {
    text.fill(0);
  }
}

/** -1 for what is no hexadecimal digit. */
function digitOf(char: number): number {
  if (char >= 0x30 && char <= 0x39) return char - 0x30;
  const lower = char | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
