import { Worker } from 'node:worker_threads';

/**
 * How a client is woken when something is due:
 * - `thread`: a thread sleeps until then, to some 0.1 ms, and wakes the event loop;
 * - `timer`: the event loop's own timers, which count whole milliseconds;
 * - `spin`: the event loop never sleeps, which takes a core.
 */
export const PACERS = ['thread', 'timer', 'spin'] as const;
export type PacerKind = (typeof PACERS)[number];

/** Milliseconds of a clock that all threads of a machine share. */
export const steadyMs = () => Number(process.hrtime.bigint()) / 1e6;

/** Moments start, start + every, …, `count` of them, by `steadyMs`. */
export interface Schedule {
  readonly startMs: number;
  readonly everyMs: number;
  readonly count: number;
}

/** Calls `due` once for each moment of the schedule, in their order, as soon after it as can be. */
export async function pace(kind: PacerKind, schedule: Schedule, due: (i: number, dueMs: number) => void) {
  const { startMs, everyMs, count } = schedule;
  let next = 0;
  /** Milliseconds until the next is due; undefined when all have been. */
  const catchUp = (): number | undefined => {
    for (;;) {
      if (next === count) return undefined;
      const dueMs = startMs + next * everyMs;
      const left = dueMs - steadyMs();
      if (left > 0) return left;
      due(next++, dueMs);
    }
  };
  const { promise, resolve } = Promise.withResolvers<void>();
  if (kind === 'thread') {
    const worker = new Worker(new URL('./pacer-thread.ts', import.meta.url), { workerData: schedule });
    worker.on('message', () => {
      if (catchUp() === undefined) resolve();
    });
    await promise;
    await worker.terminate();
    return;
  }
  const again = () => {
    const left = catchUp();
    if (left === undefined) resolve();
    else if (kind === 'spin') setImmediate(again);
    else setTimeout(again, Math.ceil(left));
  };
  again();
  await promise;
}
