import type { TakenKey } from '../named-keys/taken-keys.ts';

const KEY_ID = Buffer.from('{"keyId":"', 'latin1');
const KEY = Buffer.from('","key":"', 'latin1');
const RANDOM = Buffer.from('{"randomStr":"', 'latin1');
const END = Buffer.from('"}', 'latin1');

const CONSTANT: ReadonlySet<Buffer> = new Set([KEY_ID, KEY, RANDOM, END]);

const DIGITS = Buffer.from('0123456789abcdef', 'latin1');

/** What a key provider can do, and for whom. */
export interface Capabilities {
  /** How its keys are made. */
  readonly algorithm: string;
  readonly localSystem: string;
  readonly remoteSystems: readonly string[];
}

/** Answer of /capabilities (draft-cisco-skip-02). */
export function capabilitiesAnswer({ algorithm, localSystem, remoteSystems }: Capabilities): Buffer {
  return Buffer.from(
    JSON.stringify({
      ...{ entropy: true, key: true, algorithm },
      ...{ localSystemID: localSystem, remoteSystemID: remoteSystems },
    }),
  );
}

/**
 * Answer of /key. Wipes the key, which is written as bytes and never becomes a
 * string; whoever sends the answer wipes it.
 */
export function keyAnswer({ id, key }: TakenKey): Buffer {
  const keyId = Buffer.from(id.replaceAll('-', ''), 'latin1');
  const answer = assembled(KEY_ID, keyId, KEY, hexOf(key.expose()), END);
  key.wipe();
  return answer;
}

/** Answer of /entropy. Wipes the random bytes, as keyAnswer. */
export function entropyAnswer(random: Buffer): Buffer {
  const end = Buffer.from(`","minentropy":${random.length * 8}}`, 'latin1');
  const answer = assembled(RANDOM, hexOf(random), end);
  random.fill(0);
  return answer;
}

/** Joins the pieces and wipes them but for those that are constant. */
function assembled(...pieces: readonly Buffer[]): Buffer {
  const answer = Buffer.allocUnsafeSlow(pieces.reduce((bytes, piece) => bytes + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    answer.set(piece, at);
    at += piece.length;
    if (!CONSTANT.has(piece)) piece.fill(0);
  }
  return answer;
}

function hexOf(bytes: Buffer): Buffer {
  const hex = Buffer.allocUnsafeSlow(bytes.length * 2);
  for (const [i, byte] of bytes.entries()) {
    hex[2 * i] = DIGITS[byte >> 4] as number;
    hex[2 * i + 1] = DIGITS[byte & 15] as number;
  }
  return hex;
}
