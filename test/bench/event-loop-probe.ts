import { appendFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/**
 * Loaded into every process of the benchmark's nodes: notes how late the event
 * loop of a service ran, for the whole of its life, as one line of
 * JSON in the file that KEYWEAVE_EVENT_LOOP names.
 */
const file = process.env.KEYWEAVE_EVENT_LOOP;
const service = process.argv[1]?.includes('service-entry') ? process.argv[2] : undefined;

/** The timer of the measurement; a loop that is never late shows it as its delay. */
const RESOLUTION_MS = 5;

if (file !== undefined && service !== undefined) {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  // Loading the modules is no delay that a request would feel.
  setTimeout(() => {
    delay.reset();
    delay.enable();
  }, 2_000).unref();
  process.on('exit', () => {
    const ms = (percentile: number) => Math.max(0, delay.percentile(percentile) / 1e6 - RESOLUTION_MS);
    appendFileSync(file, `${JSON.stringify({ service, p50Ms: ms(50), p99Ms: ms(99), maxMs: ms(100) })}\n`);
  });
}
