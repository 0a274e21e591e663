import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Meter } from '@opentelemetry/api';
import { systemClock } from '#common/time/clock.ts';

type IntervalHistogram = ReturnType<typeof monitorEventLoopDelay>;

/** How often the event loop's delay is sampled, milliseconds. Each sample wakes the process, whether or not it has work. */
const RESOLUTION_MS = 50;
const QUANTILES = [0.5, 0.9, 0.99, 1] as const;
/** The delays that are told are those of the last such time, milliseconds. */
const WINDOW_MS = 60_000;

/** Memory, processor time and event loop of this process. @returns ends the sampling. */
export function observeProcess(meter: Meter): () => void {
  const { rss, heap, external, cpu, started, delay } = {
    rss: meter.createObservableGauge('process_resident_memory_bytes', {
      description: 'Memory of the process that is in RAM',
    }),
    heap: meter.createObservableGauge('nodejs_heap_used_bytes', { description: 'Used part of the heap' }),
    external: meter.createObservableGauge('nodejs_external_memory_bytes', {
      description: 'Buffers and other memory outside the heap',
    }),
    cpu: meter.createObservableCounter('process_cpu_seconds_total', {
      description: 'Processor time, user and system',
    }),
    started: meter.createObservableGauge('process_start_time_seconds', {
      description: 'When the process started, seconds since 1970',
    }),
    delay: meter.createObservableGauge('nodejs_eventloop_delay_seconds', {
      description: 'By how much the event loop was late, by quantile of the last minute or two',
    }),
  };
  const startedS = systemClock.wallMs() / 1000 - process.uptime();
  const delays = new RecentDelays();
  meter.addBatchObservableCallback(
    (result) => {
      const memory = process.memoryUsage();
      const { user, system } = process.cpuUsage();
      result.observe(rss, memory.rss);
      result.observe(heap, memory.heapUsed);
      result.observe(external, memory.external);
      result.observe(cpu, (user + system) / 1e6);
      result.observe(started, startedS);
      for (const quantile of QUANTILES)
        result.observe(delay, delays.seconds(quantile), { quantile: `${quantile}` });
    },
    [rss, heap, external, cpu, started, delay],
  );
  return () => delays.close();
}

/** Delays of the event loop in two windows that take turns, so that several readers see the same. */
class RecentDelays {
  #current = sampled();
  #before: IntervalHistogram | undefined;
  readonly #timer = setInterval(() => this.#turn(), WINDOW_MS).unref();

  /** The worse of both windows. */
  seconds(quantile: number): number {
    const each = [this.#current, this.#before].map((delays) =>
      delays && delays.count > 0 ? delays.percentile(quantile * 100) / 1e9 : 0,
    );
    // What is sampled includes the time between two samples.
    return Math.max(0, Math.max(...each) - RESOLUTION_MS / 1000);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#current.disable();
  }

  #turn(): void {
    this.#current.disable();
    this.#before = this.#current;
    this.#current = sampled();
  }
}

function sampled(): IntervalHistogram {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  return delays;
}
