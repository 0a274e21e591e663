/** Time whose demand is held ready: long enough that many slow streams still share batches. */
const HORIZON_MS = 10_000;

/**
 * The same for a stream that takes scarce keys, which are lost when it closes:
 * the longer time for a small part of what it has read, so that hardly anything
 * is thrown away; for more of it what hides the making of a batch, so much and
 * twice as long as that has lately taken.
 */
const SCARCE_HORIZON_MS = 250;
const MAX_SCARCE_HORIZON_MS = 2_000;
const SCARCE_PART = 1 / 25;
const SCARCE_PART_OF_FEW = 1 / 4;
const SCARCE_FEW = 64;
/** Its depth lasts for a moment only, so that it is refilled so much earlier. */
const SCARCE_WATER = 1.2;

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
 * GET_KEY. A stream that takes scarce keys holds far less: nothing before it
 * has read, and nothing while it asks now and then; once it has long been read
 * it holds one.
 */
export class PrefetchDepth {
  readonly #max: number;
  readonly #spread: number;
  readonly #isScarce: boolean;
  #depth: number;
  /** What is held whatever has been read. */
  #least = 0;
  #reads = 0;
  #averageGapMs: number | undefined;
  #lastGetMs: number | undefined;
  /** How long a GET_KEY that found nothing has lately waited. */
  #waitMs = 0;
  #scarceUntilMs = Number.NEGATIVE_INFINITY;

  /**
   * @param spread from 0 up to, but not, 1: streams of different spread are
   *   refilled at different times, though they are read at the same pace.
   * @param isScarce whether its chunks take scarce keys.
   */
  constructor(maxChunks: number, spread = 0, isScarce = false) {
    this.#max = maxChunks;
    this.#spread = spread;
    this.#isScarce = isScarce;
    this.#depth = isScarce ? 0 : Math.min(1, maxChunks);
  }

  get depth(): number {
    return this.#depth;
  }

  /** Has so many chunks held ahead at least, scarce or not, from before the first GET_KEY on. */
  keepReady(chunks: number): void {
    this.#least = Math.min(chunks, this.#max);
  }

  /** Notes a GET_KEY. */
  noteGet(nowMs: number): void {
    const last = this.#lastGetMs;
    this.#lastGetMs = nowMs;
    this.#reads += 1;
    if (last === undefined) return;
    const gap = Math.max(0.1, nowMs - last);
    const average = this.#averageGapMs;
    this.#averageGapMs = average === undefined || gap > IDLE_MS ? gap : average + NEWEST * (gap - average);
    if (this.#isScarce) {
      this.#depth = this.#scarceDepth(this.#averageGapMs);
      return;
    }
    const wanted = Math.floor(HORIZON_MS / this.#averageGapMs);
    this.#depth = Math.min(this.#max, Math.max(1, Math.min(wanted, Math.max(1, this.#depth) * 2)));
  }

  #scarceDepth(gapMs: number): number {
    const part = Math.floor(this.#reads * SCARCE_PART);
    const ofFew = Math.min(SCARCE_FEW, Math.floor(this.#reads * SCARCE_PART_OF_FEW));
    const horizonMs = Math.min(MAX_SCARCE_HORIZON_MS, Math.max(SCARCE_HORIZON_MS, 2 * this.#waitMs));
    const soon = Math.min(Math.floor(horizonMs / gapMs), Math.max(part, ofFew));
    const later = Math.min(Math.floor(HORIZON_MS / gapMs), part);
    return Math.min(this.#max, Math.max(soon, later));
  }

  /**
   * Notes that a GET_KEY that had to wait has got its key. What the
   * application does with its time begins now: its pace is not that of its waiting.
   */
  noteWaited(sinceMs: number, nowMs: number): void {
    this.#waitMs += NEWEST * (nowMs - sinceMs - this.#waitMs);
    if (this.#isScarce) this.#lastGetMs = nowMs;
  }

  /** How long `there` chunks last at the stream's pace, milliseconds; for ever where chunks are held for seconds anyway. */
  lastsMs(there: number): number {
    return this.#isScarce && this.#averageGapMs !== undefined
      ? there * this.#averageGapMs
      : Number.POSITIVE_INFINITY;
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
    if (this.#isScarce)
      return this.#scarceShortfall(
        free,
        nowMs,
        Math.min(Math.max(LATEST_WATER, lowWater), SCARCE_WATER * lowWater),
      );
    const depth = this.#wanted(nowMs);
    // At the cap the depth lasts a moment only; below it, for seconds, and larger batches cost less.
    const water = this.#depth < this.#max ? lowWater * PATIENCE : lowWater;
    const level = Math.max(
      depth * Math.max(water, Math.min(water * (1 + this.#spread), LATEST_WATER)),
      depth - step,
    );
    return free <= level ? Math.max(0, depth - free) : 0;
  }

  #scarceShortfall(free: number, nowMs: number, water: number): number {
    const depth = this.#wanted(nowMs);
    return free <= depth * water ? Math.max(0, depth - free) : 0;
  }
  #wanted(nowMs: number): number {
    return nowMs < this.#scarceUntilMs ? 0 : Math.max(this.#depth, this.#least);
  }
}
