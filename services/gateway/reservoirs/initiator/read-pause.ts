import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { growingPause } from '#common/time/growing-pause.ts';

/** Pause after a failure; twice as long after each further one. */
const FIRST_MS = 50;
const LONGEST_MS = 1_000;

/** When a reservoir reads again. Times are of the monotonic clock. */
export class ReadPause {
  #failures = 0;
  #untilMs = Number.NEGATIVE_INFINITY;
  #failure: KeyweaveError | undefined;

  /** Failures in a row. */
  get failures(): number {
    return this.#failures;
  }

  /** Why keys cannot be had before it is over; undefined where they come later, or something else than reading failed. */
  get failure(): KeyweaveError | undefined {
    return this.#failure;
  }

  leftMs(nowMs: number): number {
    return Math.max(0, this.#untilMs - nowMs);
  }

  /** Something has failed; `failure` where it is that no key can be had. */
  failed(nowMs: number, failure?: KeyweaveError): void {
    this.#failure = failure;
    this.#untilMs = nowMs + growingPause(this.#failures++, FIRST_MS, LONGEST_MS);
  }

  /** Keys come, and more of them in `ms`. */
  wait(nowMs: number, ms: number): void {
    this.#untilMs = nowMs + ms;
  }

  /** All is well. */
  succeeded(): void {
    this.#failures = 0;
    this.#failure = undefined;
  }
}
