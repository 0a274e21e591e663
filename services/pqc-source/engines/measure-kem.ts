import type { KemAlgorithm } from '#common/catalogue/kems.ts';
import { wipe } from '#common/crypto/bytes.ts';
import { systemClock } from '#common/time/clock.ts';
import type { KemEngine } from './kem-engine.ts';

/** Microseconds an operation takes, in batches, as callers of an engine see it. */
export interface KemSpeed {
  readonly generate: number;
  readonly encapsulate: number;
  readonly decapsulate: number;
}

/** What one batch is: more of the slow ones would last for seconds. */
export const SPEED_BATCH: Readonly<Record<KemAlgorithm['cost'], number>> = {
  light: 64,
  medium: 32,
  heavy: 4,
};

/** Encapsulations and decapsulations for each batch of slow keys. */
const HEAVY_PASSES = 5;

/**
 * Repeats batches of each operation for about `budgetMs` milliseconds, at
 * least one. The fastest batch counts: everything that disturbs a measurement
 * makes it longer.
 */
export async function measureKem(
  engine: KemEngine,
  algorithm: KemAlgorithm,
  budgetMs: number,
  count = SPEED_BATCH[algorithm.cost],
): Promise<KemSpeed> {
  const best = {
    generate: Number.POSITIVE_INFINITY,
    encapsulate: Number.POSITIVE_INFINITY,
    decapsulate: Number.POSITIVE_INFINITY,
  };
  async function timed<T>(operation: keyof KemSpeed, work: () => Promise<T>): Promise<T> {
    const started = systemClock.monotonicMs();
    const result = await work();
    best[operation] = Math.min(best[operation], ((systemClock.monotonicMs() - started) * 1000) / count);
    return result;
  }
  // The first call may start threads, or compile WebAssembly.
  if (algorithm.cost !== 'heavy') (await engine.generateKeyPairs(algorithm, 1)).privateKeys.wipe();
  const end = systemClock.monotonicMs() + budgetMs;
  do {
    const { publicKeys, privateKeys } = await timed('generate', () =>
      engine.generateKeyPairs(algorithm, count),
    );
    // Where keys take long to make there would be few measurements of the rest.
    for (let pass = 0; pass < (algorithm.cost === 'heavy' ? HEAVY_PASSES : 1); pass++) {
      const made = await timed('encapsulate', () => engine.encapsulate(algorithm, publicKeys));
      const opened = await timed('decapsulate', () =>
        engine.decapsulate(algorithm, privateKeys, made.ciphertexts),
      );
      wipe(made.sharedSecrets, opened);
    }
    privateKeys.wipe();
  } while (systemClock.monotonicMs() < end);
  return best;
}
