import { findKemAlgorithm, type KemAlgorithm } from '#common/algorithms/kem-algorithms.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { KemEngine } from './engines/kem-engine.ts';

/** The engines of this machine in order of preference; an engine that fails its self-test is not used. */
export class EngineSet {
  #engines: readonly KemEngine[];
  readonly #log: Log;

  constructor(engines: readonly KemEngine[], log: Log) {
    this.#engines = engines;
    this.#log = log;
  }

  /** Tests every engine; those that fail are dropped, loudly. */
  async selfTest(): Promise<void> {
    const results = await Promise.allSettled(this.#engines.map((engine) => engine.selfTest()));
    this.#engines = this.#engines.filter((engine, i) => {
      const result = results[i];
      if (result?.status !== 'rejected') return true;
      this.#log.error(
        'a KEM engine fails its self-test and is not used',
        { engine: engine.name },
        result.reason,
      );
      return false;
    });
  }

  engineOf(algorithm: KemAlgorithm): KemEngine | undefined {
    return this.#engines.find((engine) => engine.supports(algorithm));
  }

  /** Why an algorithm cannot be had here and what to do; empty when it can. */
  unavailable(algorithm: KemAlgorithm): string {
    if (this.engineOf(algorithm)) return '';
    return `${algorithm.name} needs the native engine, which this node does not have; choose another KEM`;
  }

  /** The algorithm and its engine. @throws KeyweaveError UNSUPPORTED in words. */
  find(name: string): { algorithm: KemAlgorithm; engine: KemEngine } {
    const algorithm = findKemAlgorithm(name);
    if (!algorithm)
      throw new KeyweaveError('UNSUPPORTED', `unknown KEM ${JSON.stringify(name.slice(0, 64))}`);
    const engine = this.engineOf(algorithm);
    if (!engine) throw new KeyweaveError('UNSUPPORTED', this.unavailable(algorithm));
    return { algorithm, engine };
  }

  async close(): Promise<void> {
    await Promise.all(this.#engines.map((engine) => engine.close()));
  }
}
