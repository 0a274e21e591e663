import type { Clock, Timer } from '#common/time/clock.ts';

interface Due {
  readonly atMs: number;
  readonly act: () => void;
}

/** Taken before any test can replace it. */
const nextTurn = setImmediate;

/**
 * A clock that stands until `advance`. What is due is done in the order of its
 * time, then of its making; what was to be done soon, and everything that
 * follows from either without waiting, is done before time goes on. Two runs of
 * the same work therefore never differ.
 */
export class FakeClock implements Clock {
  #nowMs: number;
  #wallAheadMs: number;
  /** In the order of their making. */
  readonly #timers = new Set<Due>();
  readonly #soon = new Set<() => void>();

  /** @param wallMs what the wall clock says at the beginning, milliseconds since 1970. */
  constructor(nowMs = 0, wallMs = 1_800_000_000_000) {
    this.#nowMs = nowMs;
    this.#wallAheadMs = wallMs - nowMs;
  }

  readonly monotonicMs = (): number => this.#nowMs;

  readonly wallMs = (): number => this.#nowMs + this.#wallAheadMs;

  readonly after = (ms: number, act: () => void): Timer => {
    const due = { atMs: this.#nowMs + Math.max(0, ms), act };
    this.#timers.add(due);
    return { cancel: () => void this.#timers.delete(due) };
  };

  readonly soon = (act: () => void): Timer => {
    const once = () => act();
    this.#soon.add(once);
    return { cancel: () => void this.#soon.delete(once) };
  };

  /** Timers that are still to come. */
  get pending(): number {
    return this.#timers.size;
  }

  /** When the next timer is due, by the monotonic clock; undefined where there is none. */
  get nextDueMs(): number | undefined {
    return this.#next()?.atMs;
  }

  /** Somebody sets the wall clock. */
  setWall(wallMs: number): void {
    this.#wallAheadMs = wallMs - this.#nowMs;
  }

  /** Lets `ms` go by and everything happen that is due by then. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await this.settle();
    for (let due = this.#next(); due !== undefined && due.atMs <= untilMs; due = this.#next()) {
      this.#nowMs = due.atMs;
      this.#timers.delete(due);
      due.act();
      await this.settle();
    }
    this.#nowMs = untilMs;
  }

  /** Lets everything happen that waits for no time to go by. */
  async settle(): Promise<void> {
    do {
      // All that promises bring is done when the run time's own turn is over.
      await new Promise<void>((resolve) => nextTurn(resolve));
      for (const act of this.#soon) {
        this.#soon.delete(act);
        act();
      }
      await new Promise<void>((resolve) => nextTurn(resolve));
    } while (this.#soon.size > 0);
  }

  #next(): Due | undefined {
    let first: Due | undefined;
    for (const due of this.#timers) if (first === undefined || due.atMs < first.atMs) first = due;
    return first;
  }
}
