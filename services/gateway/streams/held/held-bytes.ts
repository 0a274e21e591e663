/**
 * Bytes of key that this gateway holds, or has promised to hold, for the
 * streams with one peer: confirmed and unread, waiting for confirmation, or
 * being made. Each stream keeps its own part up to date.
 */
export class HeldBytes {
  readonly limit: number;
  #bytes = 0;

  /** @param limit bytes; Infinity for none. */
  constructor(limit: number) {
    this.limit = limit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that may still come; never negative. */
  get room(): number {
    return Math.max(0, this.limit - this.#bytes);
  }

  /** A stream holds `more` bytes more than before (less where negative). */
  change(more: number): void {
    this.#bytes += more;
  }
}
