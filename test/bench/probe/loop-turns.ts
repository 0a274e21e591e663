import { constants, createHistogram, PerformanceObserver, performance } from 'node:perf_hooks';

/** Nanoseconds; what the histograms tell apart. */
const HISTOGRAM = { lowest: 1_000, highest: 60_000_000_000, figures: 3 };

const GC_KINDS: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weak callbacks',
};

/** Milliseconds. */
export interface Spread {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

export interface LoopReport {
  readonly turns: number;
  /** Time that turns took by the clock, without the wait for events. */
  readonly wall: Spread;
  /** CPU time of the loop's own thread in them: wall time less what others had the core for. */
  readonly cpu: Spread;
  /** By kind. */
  readonly gc: Readonly<Record<string, { count: number; totalMs: number; maxMs: number }>>;
}

/**
 * Measures every single turn of this thread's event loop: from one check phase
 * to the next, less the time in which the loop waited for events. An immediate
 * that holds no reference runs in each of them and lets the loop sleep. Costs
 * some 3 µs a turn.
 */
export class LoopTurns {
  #wall = createHistogram(HISTOGRAM);
  #cpu = createHistogram(HISTOGRAM);
  #gc: Record<string, { count: number; totalMs: number; maxMs: number }> = {};
  #immediate: NodeJS.Immediate | undefined;
  #observer: PerformanceObserver | undefined;
  #last = { atMs: 0, idleMs: 0, cpuUs: 0 };

  /** Begins anew. */
  start(): void {
    this.stop();
    this.#wall.reset();
    this.#cpu.reset();
    this.#gc = {};
    this.#observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) this.#collected(entry);
    });
    this.#observer.observe({ entryTypes: ['gc'] });
    this.#last = moment();
    this.#arm();
  }

  stop(): void {
    clearImmediate(this.#immediate);
    this.#observer?.disconnect();
  }

  report(): LoopReport {
    return {
      turns: this.#wall.count,
      wall: spread(this.#wall),
      cpu: spread(this.#cpu),
      gc: this.#gc,
    };
  }

  #arm(): void {
    this.#immediate = setImmediate(() => {
      const last = this.#last;
      const now = moment();
      this.#last = now;
      const wallMs = now.atMs - last.atMs - (now.idleMs - last.idleMs);
      this.#wall.record(Math.max(HISTOGRAM.lowest, Math.round(wallMs * 1e6)));
      this.#cpu.record(Math.max(HISTOGRAM.lowest, (now.cpuUs - last.cpuUs) * 1000));
      this.#arm();
    }).unref();
  }

  #collected(entry: PerformanceEntry): void {
    const { kind } = (entry as unknown as { detail: { kind: number } }).detail;
    const name = GC_KINDS[kind] ?? `kind ${kind}`;
    this.#gc[name] ??= { count: 0, totalMs: 0, maxMs: 0 };
    const of = this.#gc[name];
    of.count += 1;
    of.totalMs += entry.duration;
    of.maxMs = Math.max(of.maxMs, entry.duration);
  }
}

function moment(): { atMs: number; idleMs: number; cpuUs: number } {
  // The kernel brings a thread's account up to date when the process's is asked for.
  process.cpuUsage();
  const { user, system } = process.threadCpuUsage();
  return { atMs: performance.now(), idleMs: performance.nodeTiming.idleTime, cpuUs: user + system };
}

function spread(histogram: ReturnType<typeof createHistogram>): Spread {
  if (histogram.count === 0) return { p50Ms: 0, p99Ms: 0, p999Ms: 0, maxMs: 0 };
  const ms = (percentile: number) => histogram.percentile(percentile) / 1e6;
  return { p50Ms: ms(50), p99Ms: ms(99), p999Ms: ms(99.9), maxMs: histogram.max / 1e6 };
}
