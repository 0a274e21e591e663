import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { trimHeap } from '#common/service/trim-heap.ts';

/** How often is looked, milliseconds. */
const LOOK_MS = 10_000;

/** Shares of the event loop's time: above the one there is load, below the other there is none. */
const BUSY = 0.05;
const IDLE = 0.01;

/** Looks in a row without load after which a load is over; a minute of rest has room for them. */
const IDLE_LOOKS = 3;

/**
 * A heap up to this size, bytes, is trimmed and may triple. A larger one is
 * one of many streams: a collection of it would hold the event loop for long.
 */
const SMALL_HEAP_BYTES = 48 * 1024 * 1024;

/** Room of a small heap, percent of what lives in it. */
const SMALL_HEAP_GROWTH = 200;

export interface HeapUpkeepOptions {
  trim: () => void;
  /** What lives in the heap and what has not been collected, bytes. */
  heapBytes: () => number;
  /** Percent by which the heap may grow until it is collected; 0 leaves it to the run time. */
  setGrowth: (percent: number) => void;
}

/**
 * Keeps the collector in step with what a service does.
 *
 * Messages lie outside the heap, and what they take counts against its limit.
 * That is some 8 MB above what lives in it, so that a service under load would
 * mark its whole heap, in which there is hardly any garbage, with every few
 * thousand keys: a small heap gets more room. After a load the room is given
 * back, once for each load.
 */
export class HeapUpkeep {
  readonly #options: HeapUpkeepOptions;
  #growth = 0;
  #busy = false;
  #idleLooks = 0;

  constructor(options: HeapUpkeepOptions) {
    this.#options = options;
  }

  /** The start is over: what it has left behind is given back. */
  begin(): void {
    this.#grow(SMALL_HEAP_GROWTH);
    this.#options.trim();
  }

  /** @param utilization share of the event loop's time since the last look that was spent working. */
  look(utilization: number): void {
    const small = this.#options.heapBytes() <= SMALL_HEAP_BYTES;
    this.#grow(small ? SMALL_HEAP_GROWTH : 0);
    this.#idleLooks = utilization < IDLE ? this.#idleLooks + 1 : 0;
    if (utilization >= BUSY) this.#busy = true;
    if (!this.#busy || this.#idleLooks < IDLE_LOOKS) return;
    this.#busy = false;
    if (small) this.#options.trim();
  }

  #grow(percent: number): void {
    if (percent === this.#growth) return;
    this.#growth = percent;
    this.#options.setGrowth(percent);
  }
}

/** Starts the upkeep of this process's heap, for as long as it lives. */
export function startHeapUpkeep(): void {
  const upkeep = new HeapUpkeep({
    trim: trimHeap,
    heapBytes: () => getHeapStatistics().used_heap_size,
    setGrowth: (percent) => setFlagsFromString(`--heap-growing-percent=${percent}`),
  });
  upkeep.begin();
  let last: EventLoopUtilization = performance.eventLoopUtilization();
  setInterval(() => {
    const now = performance.eventLoopUtilization();
    upkeep.look(performance.eventLoopUtilization(now, last).utilization);
    last = now;
  }, LOOK_MS).unref();
}
