import { hash as digest, hkdfSync } from 'node:crypto';

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
 * result. Two one-shot hashes cost somewhat less than an HMAC object
 * (test/bench/key-derivation.ts measures them), and leave no copy of the key.
 */
export function hmac(hash: HashName, key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  const { bytes, blockBytes } = HASHES[hash];
  const shortKey = key.length > blockBytes ? digest(hash, key, 'buffer') : key;
  const at = blockBytes + lengthOf(parts);
  reserve(at);
  fillPad(shortKey, blockBytes, INNER_PAD);
  layOut(parts, blockBytes);
  const inner = digest(hash, scratch.subarray(0, at), 'buffer');
  fillPad(shortKey, blockBytes, OUTER_PAD);
  inner.copy(scratch, blockBytes);
  const mac = digest(hash, scratch.subarray(0, blockBytes + bytes), 'buffer');
  inner.fill(0);
  scratch.fill(0, 0, Math.max(at, blockBytes + bytes));
  if (shortKey !== key) shortKey.fill(0);
  return mac;
}

/** The hash of the parts in order. The caller wipes the result where it is of secrets. */
export function hashOf(hash: HashName, ...parts: readonly Uint8Array[]): Buffer {
  const length = lengthOf(parts);
  reserve(length);
  layOut(parts, 0);
  const laid = scratch.subarray(0, length);
  const made = digest(hash, laid, 'buffer');
  laid.fill(0);
  return made;
}

/** Longest info that node:crypto's HKDF takes, bytes. */
const MAX_SYNC_INFO_BYTES = 1024;

/**
 * HKDF (RFC 5869) of the parts of `ikm` and of `info`, in order, into `out`,
 * at most 255 blocks. node:crypto's, which costs least, as far as it takes the
 * info; it keeps a copy of the secrets until that is collected and wiped.
 *
 * @throws RangeError where `out` is longer.
 */
export function hkdf(
  hash: HashName,
  salt: Uint8Array,
  ikm: readonly Uint8Array[],
  info: readonly Uint8Array[],
  out: Buffer,
): void {
  const [ikmBytes, infoBytes] = [lengthOf(ikm), lengthOf(info)];
  if (infoBytes > MAX_SYNC_INFO_BYTES) {
    const prk = hkdfExtract(hash, salt, ...ikm);
    hkdfExpand(hash, prk, info, out);
    prk.fill(0);
    return;
  }
  reserve(ikmBytes + infoBytes);
  layOut(ikm, 0);
  layOut(info, ikmBytes);
  const laid = scratch.subarray(0, ikmBytes + infoBytes);
  try {
    const made = hkdfSync(hash, laid.subarray(0, ikmBytes), salt, laid.subarray(ikmBytes), out.length);
    const bytes = Buffer.from(made);
    bytes.copy(out);
    bytes.fill(0);
  } finally {
    laid.fill(0);
  }
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

function lengthOf(parts: readonly Uint8Array[]): number {
  let length = 0;
  for (const part of parts) length += part.length;
  return length;
}

function reserve(length: number): void {
  if (scratch.length < length) scratch = Buffer.alloc(length);
}

function layOut(parts: readonly Uint8Array[], start: number): void {
  let at = start;
  for (const part of parts) {
    scratch.set(part, at);
    at += part.length;
  }
}

function fillPad(key: Uint8Array, blockBytes: number, pad: number): void {
  for (let i = 0; i < key.length; i++) scratch[i] = (key[i] as number) ^ pad;
  scratch.fill(pad, key.length, blockBytes);
}
