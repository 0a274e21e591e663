/** Time whose demand is held ready: long enough that many slow streams still share batches. */
const HORIZON_MS = 10_000;

/** Weight of the newest gap in the average. */
const NEWEST = 0.2;

/** How much lower streams may run whose depth lasts for seconds. */
const PATIENCE = 0.6;

/** For so long after a source has run low nothing is made ahead. */
const SCARCITY_MS = 2_000;

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
  #scarceUntilMs = Number.NEGATIVE_INFINITY;

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

  /** Notes that a source, or the room at the other end, has run out: what there is belongs to those who ask. */
  noteScarcity(nowMs: number): void {
    this.#scarceUntilMs = nowMs + SCARCITY_MS;
  }

  /**
   * Chunks to make now: what is waited for beyond what is `there` (buffered or
   * on its way), and the depth once no more than `lowWater` of it is left.
   */
  shortfall(there: number, waiting: number, nowMs: number, lowWater = 0.5): number {
    const free = there - waiting;
    const depth = nowMs < this.#scarceUntilMs ? 0 : this.#depth;
    // At the cap the depth lasts a moment only; below it, for seconds, and larger batches cost less.
    const water = this.#depth < this.#max ? lowWater * PATIENCE : lowWater;
    return free <= depth * water ? Math.max(0, depth - free) : 0;
  }
}
