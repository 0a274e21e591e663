/** Time over which what is used is averaged. */
const PACE_MS = 2_000;

/** Shortest and longest time between two dry moments that says something about the supply. */
const SHORTEST_MS = 200;
const LONGEST_MS = 10_000;

/** Weight of the newest measure of the supply. */
const NEWEST = 0.3;

/** Things a second, averaged over the last seconds. */
export class Pace {
  #sum = 0;
  #atMs = 0;

  /** Notes `count` of them, at a time of the monotonic clock. */
  note(count: number, nowMs: number): void {
    this.#sum = this.#decayed(nowMs) + count;
    this.#atMs = nowMs;
  }

  perSecond(nowMs: number): number {
    return (1000 * this.#decayed(nowMs)) / PACE_MS;
  }

  #decayed(nowMs: number): number {
    return this.#sum * Math.exp((this.#atMs - nowMs) / PACE_MS);
  }
}

/**
 * What a key manager gives, as it shows: between two moments at which it had
 * run dry it has given all that it had. One that never runs dry gives enough,
 * and its rate is not known.
 */
export class Supply {
  #perSecond: number | undefined;
  #sinceMs: number | undefined;
  #keys = 0;

  /** Notes keys that were read, and whether there were fewer than asked for. */
  note(keys: number, ranDry: boolean, nowMs: number): void {
    this.#keys += keys;
    const elapsed = this.#sinceMs === undefined ? undefined : nowMs - this.#sinceMs;
    if (elapsed !== undefined && elapsed > LONGEST_MS) this.#perSecond = undefined;
    if (!ranDry) return;
    if (elapsed !== undefined && elapsed < SHORTEST_MS) return;
    if (elapsed !== undefined && elapsed <= LONGEST_MS) {
      const measured = (1000 * this.#keys) / elapsed;
      this.#perSecond =
        this.#perSecond === undefined ? measured : this.#perSecond + NEWEST * (measured - this.#perSecond);
    }
    this.#sinceMs = nowMs;
    this.#keys = 0;
  }

  /** Keys a second; undefined where it is not known, since there have been enough. */
  perSecond(nowMs: number): number | undefined {
    const isFresh = this.#sinceMs !== undefined && nowMs - this.#sinceMs <= LONGEST_MS;
    return isFresh ? this.#perSecond : undefined;
  }
}
