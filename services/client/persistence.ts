import type { Random } from '#common/crypto/random.ts';
import type { Clock } from '#common/time/clock.ts';
import { growingPause } from '#common/time/growing-pause.ts';
import { waitFor } from '#common/time/wait-for.ts';
import { KeyStreamError } from './key-stream-error.ts';

/** How a call goes on where the connection fails. */
export interface RetryOptions {
  /** Longest time from the beginning of a call to its last attempt, milliseconds; 30 s by default. */
  readonly forMs?: number;
  /** Pause before the second attempt, milliseconds, which doubles with each further one; 100 by default. */
  readonly firstPauseMs?: number;
  /** Longest pause, milliseconds; 5 s by default. */
  readonly longestPauseMs?: number;
}

export interface Persistence extends Required<RetryOptions> {
  readonly clock: Clock;
  readonly random: Pick<Random, 'bytes'>;
}

const NEVER = new Promise<never>(() => undefined);

/**
 * Attempts until one succeeds, or fails for good.
 *
 * @param attempt is told the failure before, if there was one.
 * @param worthMs how long after the beginning a failure is still worth another attempt, milliseconds; 0: never.
 * @throws the last failure; the reason of the signal.
 */
export async function persist<T>(
  { clock, random, firstPauseMs, longestPauseMs }: Omit<Persistence, 'forMs'>,
  attempt: (before: KeyStreamError | undefined) => Promise<T>,
  worthMs: (failure: KeyStreamError) => number,
  signal: AbortSignal | undefined,
): Promise<T> {
  const began = clock.monotonicMs();
  let before: KeyStreamError | undefined;
  for (let failures = 0; ; failures++) {
    try {
      return await attempt(before);
    } catch (thrown) {
      if (!(thrown instanceof KeyStreamError)) throw thrown;
      // From half of it to all: those who lost the same node do not come back all at once.
      const share = 0.5 + (random.bytes(1)[0] ?? 0) / 510;
      const pauseMs = share * growingPause(failures, firstPauseMs, longestPauseMs);
      if (clock.monotonicMs() - began + pauseMs >= worthMs(thrown)) throw thrown;
      before = thrown;
      await waitFor(NEVER, pauseMs, signal, clock);
      signal?.throwIfAborted();
    }
  }
}
