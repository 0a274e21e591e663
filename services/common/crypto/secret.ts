import { inspect } from 'node:util';

/**
 * Holds key material so that it neither prints nor serialises.
 *
 * The Secret owns its bytes: `wipe()` zeroes them, and nobody else may keep a
 * reference longer than the Secret lives. JavaScript engines may hold copies
 * that nobody can reach; wiping shortens exposure, it does not end it.
 */
export class Secret {
  #bytes: Buffer;
  #wiped = false;

  /** Takes ownership of `bytes` (no copy). */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get length(): number {
    return this.#bytes.length;
  }

  get wiped(): boolean {
    return this.#wiped;
  }

  /** Lends the bytes; throws once they are wiped. */
  expose(): Buffer {
    if (this.#wiped) throw new Error('secret used after it was wiped');
    return this.#bytes;
  }

  /** Zeroes the bytes; safe to repeat. */
  wipe(): void {
    this.#bytes.fill(0);
    this.#wiped = true;
  }

  [Symbol.dispose](): void {
    this.wipe();
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}
