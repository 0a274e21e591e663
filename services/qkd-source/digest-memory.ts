const FIRST_SLOTS = 64;

/**
 * Remembers the last `capacity` digests of 8 bytes, and up to as many older
 * ones, in two generations: when the young one is full it becomes the old one.
 * Memory grows with what is in it, to 32 bytes a digest of the capacity.
 */
export class DigestMemory {
  readonly #capacity: number;
  #young = new Uint32Array(FIRST_SLOTS * 2);
  #old: Uint32Array | undefined;
  #count = 0;

  /** @param capacity a power of two. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Bytes that it takes. */
  get bytes(): number {
    return this.#young.byteLength + (this.#old?.byteLength ?? 0);
  }

  /** Notes a digest, given as two halves of 32 bits; true when it was there before. */
  add(high: number, low: number): boolean {
    // Two zeros mark a free slot.
    const first = high === 0 && low === 0 ? 1 : high;
    if (this.#old && slotOf(this.#old, first, low) < 0) return true;
    const slot = slotOf(this.#young, first, low);
    if (slot < 0) return true;
    this.#young[slot] = first;
    this.#young[slot + 1] = low;
    this.#count += 1;
    if (this.#count === this.#capacity) {
      this.#old = this.#young;
      this.#young = new Uint32Array(FIRST_SLOTS * 2);
      this.#count = 0;
    } else if (this.#count * 4 > this.#young.length) this.#grow();
    return false;
  }

  /** Slots are never more than half full, so that a search is short. */
  #grow(): void {
    const from = this.#young;
    const to = new Uint32Array(from.length * 2);
    for (let at = 0; at < from.length; at += 2) {
      const [high = 0, low = 0] = [from[at], from[at + 1]];
      if (high === 0 && low === 0) continue;
      const slot = slotOf(to, high, low);
      to[slot] = high;
      to[slot + 1] = low;
    }
    this.#young = to;
  }
}

/** Where the digest would go, or -1 when it is there. */
function slotOf(table: Uint32Array, high: number, low: number): number {
  const mask = table.length - 1;
  for (let at = (low << 1) & mask; ; at = (at + 2) & mask) {
    const there = table[at];
    const thereLow = table[at + 1];
    if (there === high && thereLow === low) return -1;
    if (there === 0 && thereLow === 0) return at;
  }
}
