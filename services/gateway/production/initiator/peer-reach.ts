import { isReason, type KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Clock } from '#common/time/clock.ts';
import { growingPause } from '#common/time/growing-pause.ts';

/** After a round that could not be sent the next one is tried; twice as long after each further one. */
const PAUSE_MS = 50;
const MAX_PAUSE_MS = 500;

/**
 * Whether a peer can be reached, as the rounds to it show. While it cannot,
 * one round now and then finds out for all streams: attempts of each of them
 * would keep both nodes busy with keys that come to nothing.
 */
export class PeerReach {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  #failure: KeyweaveError | undefined;
  #failures = 0;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Why no round is worth trying now. */
  get refusal(): KeyweaveError | undefined {
    return this.#clock.monotonicMs() < this.#untilMs ? this.#failure : undefined;
  }

  /** The last round did not get through, so the next one is small and alone. */
  get isDoubtful(): boolean {
    return this.#failure !== undefined;
  }

  /** @param failure why a round could not be sent or answered as a whole; undefined when it was answered. */
  note(failure: KeyweaveError | undefined): void {
    if (!isReason(failure, 'PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'SHUTTING_DOWN')) {
      this.#failure = undefined;
      this.#failures = 0;
      this.#untilMs = Number.NEGATIVE_INFINITY;
      return;
    }
    this.#failure = failure;
    // What was under way with it failed for the same reason.
    if (this.refusal) return;
    this.#untilMs = this.#clock.monotonicMs() + growingPause(this.#failures++, PAUSE_MS, MAX_PAUSE_MS);
  }
}
