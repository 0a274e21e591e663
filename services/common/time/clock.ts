/** Longest delay that a timer of the run time takes, some 24 days; a longer one fires at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Something that a clock will do later. */
export interface Timer {
  /** It will not happen any more; safe to repeat. */
  cancel(): void;
}

/**
 * The two times, and what is done later by them. Functions of no `this`, so
 * that one may be handed on alone. Whoever waits takes a clock, so that a test
 * or a simulation can be the one that lets time pass.
 */
export interface Clock {
  /**
   * Milliseconds, with fractions, since some moment before the process
   * started: for every interval. Never goes back, and nobody can set it; it
   * means nothing to another process.
   */
  monotonicMs(this: void): number;
  /**
   * Milliseconds since 1970: for dates alone, those of certificates and logs.
   * Somebody may set it at any moment, by any amount.
   */
  wallMs(this: void): number;
  /**
   * Calls `act` once, about `ms` from now, however long that is.
   *
   * @param background keeps no process alive that has nothing else to do.
   */
  after(this: void, ms: number, act: () => void, background?: boolean): Timer;
  /** Calls `act` once, when the rest of this turn of the event loop is done. */
  soon(this: void, act: () => void): Timer;
}

/** The machine's clocks. All other code reads them here. */
export const systemClock: Clock = Object.freeze({
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (ms: number, act: () => void, background = false) => new SystemTimer(ms, act, background),
  soon: (act: () => void) => {
    const immediate = setImmediate(act);
    return { cancel: () => clearImmediate(immediate) };
  },
});

class SystemTimer implements Timer {
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number, act: () => void, background: boolean) {
    this.#wait(ms, act, background);
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }

  #wait(left: number, act: () => void, background: boolean): void {
    this.#timer =
      left <= LONGEST_TIMER_MS
        ? setTimeout(act, left)
        : setTimeout(() => this.#wait(left - LONGEST_TIMER_MS, act, background), LONGEST_TIMER_MS);
    if (background) this.#timer.unref();
  }
}
