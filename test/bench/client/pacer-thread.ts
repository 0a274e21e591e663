import { parentPort, workerData } from 'node:worker_threads';
import { type Schedule, steadyMs } from './pacer.ts';

/** Sleeps until each moment of a schedule, and then wakes the thread that has started this one. */
const { startMs, everyMs, count } = workerData as Schedule;
const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));
for (let i = 0; i < count; i++) {
  const left = startMs + i * everyMs - steadyMs();
  if (left > 0) Atomics.wait(nobodyWakes, 0, 0, left);
  // Those that are due in one moment are one call.
  if (i === count - 1 || steadyMs() < startMs + (i + 1) * everyMs) parentPort?.postMessage(undefined);
}
