import { KEM_ALGORITHMS, type KemAlgorithm } from '#common/algorithms/kem-algorithms.ts';
import { countPacked } from '#common/crypto/bytes.ts';
import type { PqcSourceServiceImplementation } from '#gen/keyweave/v1/pqc_source.ts';
import type { EngineSet } from './engine-set.ts';
import type { KeyPairPool } from './key-pair-pool.ts';
import { assertCount, serveKeyPairs } from './key-pair-stream.ts';

/** The gRPC face of pqc-source. */
export function createPqcSourceService(
  engines: EngineSet,
  pool: KeyPairPool,
): PqcSourceServiceImplementation {
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
    keyPairs: (requests, context) => serveKeyPairs(engines, pool, requests, context.signal),
    encapsulate: async ({ algorithm: name, publicKeys }) => {
      const { algorithm, engine } = engines.find(name);
      assertCount(algorithm, countPacked('public_keys', publicKeys, algorithm.publicKeyBytes));
      return engine.encapsulate(algorithm, publicKeys);
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
