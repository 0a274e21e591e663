import { hash as digest } from 'node:crypto';

/** Hashes that the methods use: output and block length in bytes (FIPS 180-4, FIPS 202). */
export const HASHES = {
  sha256: { bytes: 32, blockBytes: 64 },
  sha384: { bytes: 48, blockBytes: 128 },
  'sha3-256': { bytes: 32, blockBytes: 136 },
} as const;

export type HashName = keyof typeof HASHES;

const NOTHING = Buffer.alloc(0);
const COUNTER = Buffer.alloc(1);
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

/** Where messages are laid out; wiped after each use, since they hold secrets. Calls are synchronous, so that one is enough. */
let scratch = Buffer.alloc(4096);

/**
 * HMAC (FIPS 198-1, RFC 2104) over the parts in order. The caller wipes the
 * result. Two one-shot hashes cost about half of what an HMAC object does.
 */
export function hmac(hash: HashName, key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const { bytes, blockBytes } = HASHES[hash];
  const shortKey = key.length > blockBytes ? digest(hash, key, 'buffer') : key;
  let length = blockBytes;
  for (const part of parts) length += part.length;
  if (scratch.length < length) scratch = Buffer.alloc(length);
  fillPad(shortKey, blockBytes, INNER_PAD);
  let at = blockBytes;
  for (const part of parts) {
    scratch.set(part, at);
    at += part.length;
  }
  const inner = digest(hash, scratch.subarray(0, at), 'buffer');
  fillPad(shortKey, blockBytes, OUTER_PAD);
  inner.copy(scratch, blockBytes);
  const mac = digest(hash, scratch.subarray(0, blockBytes + bytes), 'buffer');
  inner.fill(0);
  scratch.fill(0, 0, Math.max(at, blockBytes + bytes));
  if (shortKey !== key) shortKey.fill(0);
  return mac;
}

/** HKDF-Extract (RFC 5869 §2.2) over the parts in order. The caller wipes the result. */
export function hkdfExtract(hash: HashName, salt: Uint8Array, ...ikm: readonly Uint8Array[]): Buffer {
  return hmac(hash, salt, ...ikm);
}

/**
 * HKDF-Expand (RFC 5869 §2.3) into `out`, at most 255 blocks. `info` is given
 * in parts, so that a context need not be copied for every label.
 */
export function hkdfExpand(hash: HashName, prk: Uint8Array, info: readonly Uint8Array[], out: Buffer): void {
  let block: Buffer = NOTHING;
  for (let at = 0, i = 1; at < out.length; i++) {
    if (i > 255) throw new RangeError('HKDF gives at most 255 blocks of the hash');
    COUNTER[0] = i;
    const next = hmac(hash, prk, block, ...info, COUNTER);
    block.fill(0);
    block = next;
    at += block.copy(out, at);
  }
  block.fill(0);
}

function fillPad(key: Uint8Array, blockBytes: number, pad: number): void {
  for (let i = 0; i < key.length; i++) scratch[i] = (key[i] as number) ^ pad;
  scratch.fill(pad, key.length, blockBytes);
}
