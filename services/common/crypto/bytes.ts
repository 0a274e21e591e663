import { hash, timingSafeEqual } from 'node:crypto';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Throws BAD_REQUEST naming `what` unless `bytes` has exactly `length` bytes. */
export function assertLength(what: string, bytes: Uint8Array, length: number): void {
  if (bytes.length !== length) {
    throw new KeyweaveError('BAD_REQUEST', `${what} must be ${length} bytes long, not ${bytes.length}`);
  }
}

/** How many items of `itemBytes` lie end to end in `packed`; throws BAD_REQUEST naming `what` on a remainder. */
export function countPacked(what: string, packed: Uint8Array, itemBytes: number): number {
  if (packed.length === 0 || packed.length % itemBytes !== 0) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `${what} must be one or more items of ${itemBytes} bytes, not ${packed.length} bytes`,
    );
  }
  return packed.length / itemBytes;
}

/** The `i`-th item of `itemBytes` in `packed`, as a view (no copy). */
export function packedItem<T extends Uint8Array>(packed: T, i: number, itemBytes: number): T {
  return packed.subarray(i * itemBytes, (i + 1) * itemBytes) as T;
}

/** Up to this size the run time puts a typed array into the JavaScript heap. */
const ON_HEAP_BYTES = 64;

/**
 * Memory for secrets and for what is kept, of exactly `bytes`: no piece of the
 * run time's pool, which it would keep alive, and outside of the JavaScript
 * heap, whose collector moves what it holds and leaves the old copy behind.
 * The caller fills all of it.
 */
export function ownMemory(bytes: number): Buffer {
  return bytes <= ON_HEAP_BYTES ? Buffer.from(new ArrayBuffer(bytes)) : Buffer.allocUnsafeSlow(bytes);
}

/** A copy of the parts, end to end, in memory of its own. */
export function ownCopy(...parts: readonly Uint8Array[]): Buffer {
  const copy = ownMemory(parts.reduce((bytes, part) => bytes + part.length, 0));
  let at = 0;
  for (const part of parts) {
    copy.set(part, at);
    at += part.length;
  }
  return copy;
}

/** The same memory as a Buffer (no copy). */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** SHA-256 of each item of `itemBytes` in `packed`, end to end; nothing of nothing. */
export function digestPacked(packed: Uint8Array, itemBytes: number): Buffer {
  const count = packed.length === 0 ? 0 : packed.length / itemBytes;
  const digests = Buffer.allocUnsafeSlow(count * 32);
  for (let i = 0; i < count; i++) {
    hash('sha256', packedItem(packed, i, itemBytes), 'buffer').copy(digests, i * 32);
  }
  return digests;
}

/** Constant-time comparison; different lengths are unequal. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Zeroes every buffer given; undefined entries are skipped. */
export function wipe(...buffers: (Uint8Array | undefined)[]): void {
  for (const buffer of buffers) buffer?.fill(0);
}
