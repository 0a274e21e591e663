import type { Clock, Timer } from '#common/time/clock.ts';

/** A process of the simulated world: what it had set going ends with it. */
export interface SimulatedProcess {
  readonly name: string;
  alive: boolean;
}

interface Event {
  readonly dueMs: number;
  readonly order: number;
  readonly process: SimulatedProcess | undefined;
  act: (() => void) | undefined;
}

/**
 * The time of a simulated world: it stands still while anything happens, and
 * leaps from event to event. Events of one moment happen in the order in which
 * they were asked for, each with all that follows from it before the next one.
 */
export class SimulatedTime {
  #nowMs = 0;
  #order = 0;
  #wallOffsetMs = Date.UTC(2030, 0, 1);
  /** A binary heap. */
  readonly #events: Event[] = [];
  /** Events that have happened. */
  count = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  /** The clock of one process; timers of a process that is dead never fire. */
  clockOf(process: SimulatedProcess): Clock {
    return {
      monotonicMs: () => this.#nowMs,
      wallMs: () => this.#nowMs + this.#wallOffsetMs,
      after: (ms, act) => this.at(this.#nowMs + Math.max(0, ms), act, process),
      soon: (act) => this.at(this.#nowMs, act, process),
    };
  }

  /** Somebody sets the wall clock: nothing but dates may change by it. */
  setWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  at(dueMs: number, act: () => void, process?: SimulatedProcess): Timer {
    const event: Event = { dueMs, order: this.#order++, process, act };
    this.#push(event);
    return {
      cancel: () => {
        event.act = undefined;
      },
    };
  }

  /** Resolves after so much simulated time, whoever has died meanwhile. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.at(this.#nowMs + ms, resolve);
    });
  }

  /** Lets time pass until `untilMs`, or until `isOver` says so. */
  async run(untilMs: number, isOver: () => boolean = () => false): Promise<void> {
    await consequences();
    while (!isOver()) {
      const next = this.#events[0];
      if (!next || next.dueMs > untilMs) break;
      this.#pop();
      if (next.act === undefined || next.process?.alive === false) continue;
      this.#nowMs = next.dueMs;
      this.count += 1;
      next.act();
      await consequences();
    }
    if (!isOver()) this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  /** Timers of living processes that are still to fire. */
  pending(): number {
    return this.#events.filter(({ act, process }) => act !== undefined && process?.alive !== false).length;
  }

  #push(event: Event): void {
    const events = this.#events;
    let at = events.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(events[parent] as Event, event)) break;
      events[at] = events[parent] as Event;
      at = parent;
    }
    events[at] = event;
  }

  #pop(): void {
    const events = this.#events;
    const last = events.pop() as Event;
    if (events.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= events.length) break;
      if (child + 1 < events.length && isBefore(events[child + 1] as Event, events[child] as Event))
        child += 1;
      if (isBefore(last, events[child] as Event)) break;
      events[at] = events[child] as Event;
      at = child;
    }
    events[at] = last;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
}

/** All that promises make of what has just happened: nothing in a simulated world waits for the real one. */
function consequences(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
