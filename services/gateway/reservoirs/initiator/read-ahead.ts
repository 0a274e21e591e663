import { Pace } from '../link-rates.ts';

/** Time of the link's pace that hides the key manager's round trip. */
const AHEAD_MS = 100;

/** Part of what was used that may at most lie ahead unused: what a link that falls silent has read in vain. */
const AHEAD_PART = 0.005;

/** How many keys are read ahead of demand. */
export class ReadAhead {
  readonly #pace = new Pace();
  #used = 0;

  /** Notes keys that a batch has been granted, at a time of the monotonic clock. */
  granted(count: number, nowMs: number): void {
    this.#pace.note(count, nowMs);
  }

  /** Notes keys that were woven. */
  used(count: number): void {
    this.#used += count;
  }

  /** Keys a second that batches take. */
  pace(nowMs: number): number {
    return this.#pace.perSecond(nowMs);
  }

  /** Keys to hold beyond what is wanted. */
  keys(nowMs: number): number {
    return Math.floor(Math.min((this.pace(nowMs) * AHEAD_MS) / 1_000, this.#used * AHEAD_PART));
  }
}
