/** What `work` resolves to, or undefined after `ms`, never earlier, or when the signal fires. */
export async function waitFor<T>(work: Promise<T>, ms: number, signal?: AbortSignal): Promise<T | undefined> {
  const over = Promise.withResolvers<undefined>();
  const end = () => over.resolve(undefined);
  // Timers count whole milliseconds, and the one that has begun as the first.
  const timer = setTimeout(end, Math.ceil(ms) + 1);
  if (signal?.aborted) end();
  signal?.addEventListener('abort', end, { once: true });
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
  }
}
