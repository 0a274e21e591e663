import type { KemAlgorithm } from '#common/algorithms/kem-algorithms.ts';
import { wipe } from '#common/crypto/bytes.ts';
import type { KemEngine } from './kem-engine.ts';

/** Microseconds an operation takes, in batches, as callers of an engine see it. */
export interface KemSpeed {
  readonly generate: number;
  readonly encapsulate: number;
  readonly decapsulate: number;
}

/** Batches of other sizes would exceed a message, or last for seconds. */
const BATCH: Readonly<Record<KemAlgorithm['cost'], number>> = { light: 64, medium: 32, heavy: 4 };

/**
 * Repeats batches of each operation for about `budgetMs` milliseconds, at
 * least one. The fastest batch counts: everything that disturbs a measurement
 * makes it longer.
 */
export async function measureKem(
  engine: KemEngine,
  algorithm: KemAlgorithm,
  budgetMs: number,
  count = BATCH[algorithm.cost],
): Promise<KemSpeed> {
  const best = {
    generate: Number.POSITIVE_INFINITY,
    encapsulate: Number.POSITIVE_INFINITY,
    decapsulate: Number.POSITIVE_INFINITY,
  };
  async function timed<T>(operation: keyof KemSpeed, items: number, work: Promise<T>): Promise<T> {
    const started = performance.now();
    const result = await work;
    best[operation] = Math.min(best[operation], ((performance.now() - started) * 1000) / items);
    return result;
  }
  // The first call may start threads, or compile WebAssembly.
  if (algorithm.cost !== 'heavy') (await engine.generateKeyPairs(algorithm, 1)).privateKeys.wipe();
  const end = performance.now() + budgetMs;
  do {
    const { publicKeys, privateKeys } = await timed(
      'generate',
      count,
      engine.generateKeyPairs(algorithm, count),
    );
    const made = await timed('encapsulate', count, engine.encapsulate(algorithm, publicKeys));
    const opened = await timed(
      'decapsulate',
      count,
      engine.decapsulate(algorithm, privateKeys, made.ciphertexts),
    );
    privateKeys.wipe();
    wipe(made.sharedSecrets, opened);
  } while (performance.now() < end);
  return best;
}
