import { systemClock } from '#common/time/clock.ts';

/** What all that wait may take of one turn of the event loop, so that reads, timers and peers are served between. */
const TURN_MS = 1;

/**
 * Shares the event loop among connections that have more to be done than one
 * go: each gets one go after the other until the turn is over, then the next
 * turn begins where this one ended.
 */
export class FairTurns {
  /** In the order in which they came. */
  readonly #waiting = new Set<() => void>();
  #scheduled = false;

  /** Does `go` once, soon; asked again before that, still once. It must not throw. */
  add(go: () => void): void {
    this.#waiting.add(go);
    this.#schedule();
  }

  /** Forgets `go`. */
  remove(go: () => void): void {
    this.#waiting.delete(go);
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.size === 0) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    const end = systemClock.monotonicMs() + TURN_MS;
    // Who asks again while it is served comes again behind the others.
    for (const go of this.#waiting) {
      this.#waiting.delete(go);
      go();
      if (systemClock.monotonicMs() >= end) break;
    }
    this.#schedule();
  }
}
