import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** How often is looked at the size of the heap, milliseconds. */
const LOOK_MS = 10_000;

/** A larger heap is one of many streams: to let it triple would take too much memory. Bytes. */
const SMALL_HEAP_BYTES = 48 * 1024 * 1024;

/** Room of a small heap, percent of what lives in it. */
const SMALL_HEAP_GROWTH = 200;

/** By how much a heap of this size may grow until it is collected, percent; 0 leaves it to the run time. */
export function growthOf(heapBytes: number): number {
  return heapBytes <= SMALL_HEAP_BYTES ? SMALL_HEAP_GROWTH : 0;
}

/**
 * Gives the heap of this process more room while it is small, for as long as
 * the process lives. Messages lie outside the heap, and what they take counts
 * against its limit. That is some 8 MB above what lives in it, so that a
 * service under load would mark its whole heap, in which there is hardly any
 * garbage, with every few thousand keys.
 */
export function giveHeapRoom(): void {
  let growth = 0;
  const look = () => {
    const wanted = growthOf(getHeapStatistics().used_heap_size);
    if (wanted !== growth) setFlagsFromString(`--heap-growing-percent=${wanted}`);
    growth = wanted;
  };
  look();
  setInterval(look, LOOK_MS).unref();
}
