import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type Clock, systemClock } from '#common/time/clock.ts';

interface Waiter {
  readonly come: () => void;
}

/** Lets so many calls run at a time; the others wait for their turn, first come first served. */
export class CallTurns {
  readonly #max: number;
  readonly #clock: Pick<Clock, 'monotonicMs' | 'after'>;
  readonly #waiting = new Set<Waiter>();
  #running = 0;

  constructor(max: number, clock: Pick<Clock, 'monotonicMs' | 'after'> = systemClock) {
    this.#max = max;
    this.#clock = clock;
  }

  /**
   * Runs `call` when its turn has come, with what is left of `timeoutMs`.
   *
   * @throws KeyweaveError TIMEOUT when the turn does not come in time.
   */
  async run<T>(timeoutMs: number, call: (leftMs: number) => Promise<T>): Promise<T> {
    let leftMs = timeoutMs;
    if (this.#running < this.#max) this.#running += 1;
    else {
      const started = this.#clock.monotonicMs();
      await this.#turn(timeoutMs);
      leftMs = Math.max(1, timeoutMs - (this.#clock.monotonicMs() - started));
    }
    try {
      return await call(leftMs);
    } finally {
      this.#next();
    }
  }

  #turn(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        come: () => {
          timer.cancel();
          resolve();
        },
      };
      const timer = this.#clock.after(timeoutMs, () => {
        this.#waiting.delete(waiter);
        reject(
          new KeyweaveError('TIMEOUT', `the other node has left ${this.#max} calls like this unanswered`),
        );
      });
      this.#waiting.add(waiter);
    });
  }

  /** The turn passes on, or is given back. */
  #next(): void {
    for (const waiter of this.#waiting) {
      this.#waiting.delete(waiter);
      waiter.come();
      return;
    }
    this.#running -= 1;
  }
}
