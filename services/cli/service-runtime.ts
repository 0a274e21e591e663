import { setFlagsFromString } from 'node:v8';

/**
 * How Node is started for a service; deploy/Dockerfile does the same.
 *
 * - A small young generation: what a service makes is short-lived.
 * - The last of the optimising compilers waits for the end of the start: for
 *   the few functions that load modules it would make some 6 MB of itself
 *   resident in each process. `optimise` switches it on.
 */
export const SERVICE_FLAGS = [
  '--disable-warning=ExperimentalWarning',
  '--max-semi-space-size=4',
  '--no-opt',
] as const;

/**
 * How the C library keeps memory: in one arena, not in one for each thread,
 * and buffers of 128 KiB and more go back to the system when they are freed,
 * however many there have been. What the environment already says stays.
 */
export const SERVICE_ENVIRONMENT = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '1048576',
} as const;

/** The start is over: from now on what runs often is optimised. Without effect where it already is. */
export function optimise(): void {
  setFlagsFromString('--opt');
}
