/** Gap between two GET_KEYs after which a stream counts as idle. */
const IDLE_MS = 2_000;

/**
 * How many chunks to hold ahead of demand: one for a stream that asks now and
 * then, twice as many after every GET_KEY that had to wait, back to one when
 * the stream has been idle. Scarce QKD is thereby not hoarded.
 */
export class PrefetchDepth {
  readonly #max: number;
  #depth: number;
  #lastGetMs = Number.NEGATIVE_INFINITY;

  constructor(maxChunks: number) {
    this.#max = maxChunks;
    this.#depth = Math.min(1, maxChunks);
  }

  get depth(): number {
    return this.#depth;
  }

  /** Notes a GET_KEY: `hit` when the chunk lay ready. */
  noteGet(hit: boolean, nowMs: number): void {
    const idle = nowMs - this.#lastGetMs > IDLE_MS;
    this.#lastGetMs = nowMs;
    if (idle) this.#depth = Math.min(1, this.#max);
    else if (!hit) this.#depth = Math.min(this.#max, Math.max(2, this.#depth * 2));
  }

  /** Chunks to make now: what is waited for, and the depth once half of it is used up. */
  shortfall(buffered: number, waiting: number): number {
    if (waiting > 0) return waiting + this.#depth;
    return buffered * 2 <= this.#depth ? this.#depth - buffered : 0;
  }
}
