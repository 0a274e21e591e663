import { systemClock } from '#common/time/clock.ts';

/** Most requests under way on one connection. */
const MAX_WINDOW = 32;

/** How long requests go one by one after a burst of them has failed. */
const REST_MS = 10 * 60_000;

/**
 * How many requests may be sent ahead on one connection. Starts with one,
 * doubles while all goes well, and begins anew when the key manager runs dry:
 * a key that becomes ready in the middle of a burst would be skipped. A burst
 * that fails ends it for a while, since there are servers that take whatever
 * arrives together for one request.
 */
export class PipelineWindow {
  readonly #now: () => number;
  #size = 1;
  #restsUntil = 0;

  constructor(now: () => number = systemClock.monotonicMs) {
    this.#now = now;
  }

  get size(): number {
    return this.#now() < this.#restsUntil ? 1 : this.#size;
  }

  succeeded(): void {
    this.#size = Math.min(MAX_WINDOW, this.#size * 2);
  }

  ranDry(): void {
    this.#size = 1;
  }

  /** @param burst requests that were under way together. */
  failed(burst: number): void {
    this.#size = 1;
    if (burst > 1) this.#restsUntil = this.#now() + REST_MS;
  }
}
