import { createHmac } from 'node:crypto';

/** Hashes that the methods use, with their output length in bytes. */
export const HASH_BYTES = { sha256: 32, sha384: 48, 'sha3-256': 32 } as const;

export type HashName = keyof typeof HASH_BYTES;

/** HMAC (FIPS 198-1, RFC 2104) over the parts in order. The caller wipes the result. */
export function hmac(hash: HashName, key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const mac = createHmac(hash, key);
  for (const part of parts) mac.update(part);
  return mac.digest();
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
  const counter = Buffer.alloc(1);
  let block: Buffer = Buffer.alloc(0);
  for (let at = 0, i = 1; at < out.length; i++) {
    if (i > 255) throw new RangeError('HKDF gives at most 255 blocks of the hash');
    counter[0] = i;
    const next = hmac(hash, prk, block, ...info, counter);
    block.fill(0);
    block = next;
    at += block.copy(out, at);
  }
  block.fill(0);
}
