/**
 * The two times. Functions of no `this`, so that one may be handed on alone.
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
}

/** The machine's clocks. All other code reads them here. */
export const systemClock: Clock = Object.freeze({
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
});
