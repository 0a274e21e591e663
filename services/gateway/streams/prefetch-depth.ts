/** Time whose demand is held ready: long enough that many slow streams still share batches. */
const HORIZON_MS = 10_000;

/** Weight of the newest gap in the average. */
const NEWEST = 0.2;

/** How much lower streams may run whose depth lasts for seconds. */
const PATIENCE = 0.6;

/** For so long after a source has run low nothing is made ahead. */
const SCARCITY_MS = 2_000;

/** A fast stream is refilled by so many chunks at most, so that no round is long and streams do not fall due together. */
const STEP_CHUNKS = 64;

/** However early a stream is refilled, so much of its depth has been read by then. */
const LATEST_WATER = 0.6;

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
  readonly #spread: number;
  #depth: number;
  #averageGapMs: number | undefined;
  #lastGetMs: number | undefined;
  #scarceUntilMs = Number.NEGATIVE_INFINITY;

  /**
   * @param spread from 0 up to, but not, 1: streams of different spread are
   *   refilled at different times, though they are read at the same pace.
   */
  constructor(maxChunks: number, spread = 0) {
    this.#max = maxChunks;
    this.#spread = spread;
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
   * on its way), and the depth once no more than `lowWater` of it is left, or
   * `step` chunks of a deep one are gone.
   */
  shortfall(there: number, waiting: number, nowMs: number, lowWater = 0.5, step = STEP_CHUNKS): number {
    const free = there - waiting;
    const depth = nowMs < this.#scarceUntilMs ? 0 : this.#depth;
    // At the cap the depth lasts a moment only; below it, for seconds, and larger batches cost less.
    const water = this.#depth < this.#max ? lowWater * PATIENCE : lowWater;
    const level = Math.max(
      depth * Math.max(water, Math.min(water * (1 + this.#spread), LATEST_WATER)),
      depth - step,
    );
    return free <= level ? Math.max(0, depth - free) : 0;
  }
}
