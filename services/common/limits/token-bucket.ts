/** What may be saved up while nobody asks, as time at the full rate. */
const BURST_MS = 1_000;

/** Sums with the clock's fractions are off by less; without it a full bucket would now and then have somebody wait. */
const ROUNDING_MS = 0.001;

/**
 * Holds something to a rate: a bucket that holds one second of tokens, at
 * least one. Who takes more at once than it holds needs it full and is in debt
 * afterwards, so that the rate holds in the long run.
 */
export class TokenBucket {
  readonly #tokenMs: number;
  /** When the bucket would be full if nothing more were taken, with what is saved up deducted. */
  #fullMs = Number.NEGATIVE_INFINITY;

  /** @param perSecond tokens; infinite where there is no limit. */
  constructor(perSecond: number) {
    this.#tokenMs = 1_000 / perSecond;
  }

  /** Milliseconds after which so many tokens may be used; takes none. */
  delayMs(nowMs: number, count = 1): number {
    const cost = count * this.#tokenMs;
    if (cost === 0) return 0;
    const full = Math.max(this.#fullMs, nowMs) + cost;
    return Math.max(0, Math.ceil(full - Math.max(BURST_MS, cost) - nowMs - ROUNDING_MS));
  }

  /** Takes tokens, whether or not they are there. */
  take(nowMs: number, count = 1): void {
    this.#fullMs = Math.max(this.#fullMs, nowMs) + count * this.#tokenMs;
  }

  /** Gives tokens back that were not used after all. */
  refund(count = 1): void {
    this.#fullMs -= count * this.#tokenMs;
  }

  isFull(nowMs: number): boolean {
    return this.#fullMs <= nowMs;
  }
}
