/** Time whose demand is held ready: long enough that many slow streams still share batches. */
const HORIZON_MS = 4_000;

/** Weight of the newest gap in the average. */
const NEWEST = 0.2;

/** After such a gap the stream's past says nothing any more. */
const IDLE_MS = 10_000;

/**
 * How many chunks to hold ahead of demand: what the stream has lately asked
 * for in a few seconds, at least one, growing at most twofold with each
 * GET_KEY. A stream that asks now and then holds one, so that scarce QKD is
 * not hoarded.
 */
export class PrefetchDepth {
  readonly #max: number;
  #depth: number;
  #averageGapMs: number | undefined;
  #lastGetMs: number | undefined;

  constructor(maxChunks: number) {
    this.#max = maxChunks;
    this.#depth = Math.min(1, maxChunks);
  }

  get depth(): number {
    return this.#depth;
  }

  /** Notes a GET_KEY. */
  noteGet(nowMs: number): void {
    const last = this.#lastGetMs;
    this.#lastGetMs = nowMs;
    if (last === undefined) return;
    const gap = Math.max(0.1, nowMs - last);
    const average = this.#averageGapMs;
    this.#averageGapMs = average === undefined || gap > IDLE_MS ? gap : average + NEWEST * (gap - average);
    const wanted = Math.floor(HORIZON_MS / this.#averageGapMs);
    this.#depth = Math.min(this.#max, Math.max(1, Math.min(wanted, Math.max(1, this.#depth) * 2)));
  }

  /**
   * Chunks to make now: what is waited for, and the depth once no more than
   * `lowWater` of it is left.
   */
  shortfall(buffered: number, waiting: number, lowWater = 0.5): number {
    if (waiting > 0) return waiting + this.#depth;
    return buffered <= this.#depth * lowWater ? this.#depth - buffered : 0;
  }
}
