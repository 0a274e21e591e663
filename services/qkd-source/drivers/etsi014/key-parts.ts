import { ownMemory, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Etsi014Status } from '#common/etsi/etsi014.ts';

/** Most of the key manager's keys that one key is made of. */
const MAX_PARTS = 4;

/** How keys of a size are made of what the key manager gives. */
export interface KeyParts {
  /** Its keys for each of ours. */
  readonly count: number;
  /** Size of each of them, bytes. */
  readonly bytes: number;
}

/**
 * One key of that very size where the key manager gives such; else its largest,
 * several end to end, or its smallest, of whose last the rest is left unused.
 *
 * @throws KeyweaveError QKD_UNAVAILABLE where that would take more than four.
 */
export function partsFor(keyBytes: number, status: Etsi014Status): KeyParts {
  const least = Math.ceil(status.min_key_size / 8);
  const most = Math.floor(status.max_key_size / 8);
  const bytes = Math.max(1, least, Math.min(keyBytes, most));
  const count = Math.ceil(keyBytes / bytes);
  if (most < least || count > MAX_PARTS) {
    throw new KeyweaveError(
      'QKD_UNAVAILABLE',
      `the key manager gives keys of ${status.min_key_size} to ${status.max_key_size} bits, of which none of ${keyBytes} bytes can be made`,
    );
  }
  return { count, bytes };
}

/**
 * Keys of `keyBytes`, end to end and the caller's to wipe, each of the next of `parts` that fill it.
 *
 * @param parts base64, in order.
 * @param counts how many of them each key has.
 * @throws KeyweaveError QKD_UNAVAILABLE where they do not fill it, or one of them is not needed.
 */
export function joinParts(parts: readonly string[], counts: readonly number[], keyBytes: number): Buffer {
  const keys = ownMemory(counts.length * keyBytes);
  let next = 0;
  try {
    for (const [i, count] of counts.entries()) {
      let filled = 0;
      for (const text of parts.slice(next, next + count)) {
        if (filled >= keyBytes) throw misfit(keyBytes);
        const part = Buffer.from(text, 'base64');
        filled += part.copy(keys, i * keyBytes + filled, 0, keyBytes - filled);
        part.fill(0);
      }
      if (filled < keyBytes) throw misfit(keyBytes);
      next += count;
    }
    return keys;
  } catch (error) {
    wipe(keys);
    throw error;
  }
}

function misfit(keyBytes: number): KeyweaveError {
  return new KeyweaveError('QKD_UNAVAILABLE', `the key manager does not give keys of ${keyBytes} bytes`);
}
