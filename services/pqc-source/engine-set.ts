import {
  findKemAlgorithm,
  KEM_ENGINE_NAMES,
  type KemAlgorithm,
  type KemEngineName,
} from '#common/catalogue/kems.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { AvailableEngines } from './engines/built-in-engines.ts';
import type { KemEngine } from './engines/kem-engine.ts';

/** The engines of this machine; the table of algorithms says which of them is preferred for which. */
export class EngineSet {
  readonly #engines: Map<KemEngineName, KemEngine>;
  readonly #missing: Map<KemEngineName, string>;
  readonly #log: Log;

  constructor({ engines, missing }: AvailableEngines, log: Log) {
    this.#engines = new Map(engines.map((engine) => [engine.name, engine] as const));
    this.#missing = new Map(missing);
    this.#log = log;
    for (const [engine, reason] of missing) log.info('a KEM engine is not here', { engine, reason });
  }

  /** Tests every engine; those that fail are dropped, loudly. */
  async selfTest(): Promise<void> {
    const engines = [...this.#engines.values()];
    const results = await Promise.allSettled(engines.map((engine) => engine.selfTest()));
    for (const [i, result] of results.entries()) {
      if (result.status !== 'rejected') continue;
      const engine = engines[i] as KemEngine;
      this.#engines.delete(engine.name);
      this.#missing.set(engine.name, `engine ${engine.name} fails its self-test; see the log of pqc-source`);
      this.#log.error(
        'a KEM engine fails its self-test and is not used',
        { engine: engine.name },
        result.reason,
      );
      await engine.close();
    }
  }

  /** The preferred one of the engines that have the algorithm. */
  engineOf(algorithm: KemAlgorithm): KemEngine | undefined {
    return algorithm.engines
      .map((name) => this.#engines.get(name))
      .find((engine) => engine?.supports(algorithm));
  }

  /** Why an algorithm cannot be had here and what to do; empty when it can. */
  unavailable(algorithm: KemAlgorithm): string {
    if (this.engineOf(algorithm)) return '';
    const reasons = KEM_ENGINE_NAMES.filter((name) => algorithm.engines.includes(name)).map(
      (name) => this.#missing.get(name) ?? `engine ${name} does not have it`,
    );
    return `${algorithm.name} cannot be had at this node: ${reasons.join('; ')}; or choose another KEM`;
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
    await Promise.all([...this.#engines.values()].map((engine) => engine.close()));
  }
}
