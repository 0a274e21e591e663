import { type Clock, systemClock } from '#common/time/clock.ts';

/** What `work` resolves to, or undefined after `ms`, never earlier, or when the signal fires. */
export async function waitFor<T>(
  work: Promise<T>,
  ms: number,
  signal?: AbortSignal,
  clock: Pick<Clock, 'after'> = systemClock,
): Promise<T | undefined> {
  const over = Promise.withResolvers<undefined>();
  const end = () => over.resolve(undefined);
  // Timers count whole milliseconds, and the one that has begun as the first.
  const timer = clock.after(Math.ceil(ms) + 1, end);
  if (signal?.aborted) end();
  signal?.addEventListener('abort', end, { once: true });
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', end);
  }
}

/** Lets so much time go by, or less where the signal fires. */
export async function pause(
  ms: number,
  signal?: AbortSignal,
  clock: Pick<Clock, 'after'> = systemClock,
): Promise<void> {
  // One of its own: a promise that all shared would keep what each of them has put on it.
  await waitFor(new Promise<never>(() => undefined), ms, signal, clock);
}
