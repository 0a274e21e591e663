import { availableParallelism } from 'node:os';
import { KEM_ALGORITHMS, type KemAlgorithm, type KemCost } from '#common/catalogue/kems.ts';
import { countPacked } from '#common/crypto/bytes.ts';
import type { PqcSourceServiceImplementation } from '#gen/keyweave/v1/pqc_source.ts';
import type { EngineSet } from './engine-set.ts';
import { FairQueue } from './fair-queue.ts';
import { assertCount, serveKemSession } from './kem-session.ts';
import type { KeyPairPool } from './key-pair-pool.ts';

/** Encapsulations of one cost that run at a time, as many as there are threads for them. */
const CONCURRENCY = Math.max(2, availableParallelism());

/** Encapsulations of one cost that one peer may have waiting: more than an honest one's rounds can ask for. */
const MAX_WAITING = 512;
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** The gRPC face of pqc-source. */
export function createPqcSourceService(
  engines: EngineSet,
  pool: KeyPairPool,
): PqcSourceServiceImplementation {
  const queue = () =>
    new FairQueue({
      concurrency: CONCURRENCY,
      maxWaiting: MAX_WAITING,
      maxWaitingBytes: MAX_WAITING_BYTES,
    });
  /** By cost, so that what is quick never waits for what is slow. */
  const encapsulations: Record<KemCost, FairQueue> = { light: queue(), medium: queue(), heavy: queue() };
  return {
    listAlgorithms: async () => ({
      algorithms: KEM_ALGORITHMS.map((row) => ({
        ...poolFields(pool, row),
        slot: {
          algorithm: row.name,
          revision: row.revision,
          publicKeyBytes: row.publicKeyBytes,
          ciphertextBytes: row.ciphertextBytes,
          sharedSecretBytes: row.sharedSecretBytes,
        },
        nistLevel: row.nistLevel,
        engine: engines.engineOf(row)?.name ?? '',
        unavailable: engines.unavailable(row),
        aliases: [...row.aliases],
        family: row.family,
      })),
    }),
    keyPairs: (requests, context) => serveKemSession(engines, pool, requests, context.signal),
    encapsulate: async ({ algorithm: name, publicKeys, peerNode }, { signal }) => {
      const { algorithm, engine } = engines.find(name);
      assertCount(algorithm, countPacked('public_keys', publicKeys, algorithm.publicKeyBytes));
      return encapsulations[algorithm.cost].run(peerNode, publicKeys.length, signal, () =>
        engine.encapsulate(algorithm, publicKeys),
      );
    },
  };
}

function poolFields(pool: KeyPairPool, { name }: KemAlgorithm) {
  const counters = pool.counters(name);
  return {
    readyKeyPairs: counters?.ready ?? 0,
    poolHits: BigInt(counters?.hits ?? 0),
    poolMisses: BigInt(counters?.misses ?? 0),
  };
}
