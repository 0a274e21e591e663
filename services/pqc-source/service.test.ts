import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { findKemAlgorithm, KEM_ALGORITHMS, type KemAlgorithm } from '#common/algorithms/kem-algorithms.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { EngineSet } from './engine-set.ts';
import { createEngines } from './engines/built-in-engines.ts';
import { KeyPairPool } from './key-pair-pool.ts';
import { createPqcSourceService } from './service.ts';

const engines = new EngineSet(createEngines(['openssl', 'liboqs-wasm']), silentLog);
const pool = new KeyPairPool({
  maxPairs: 1,
  maxBytes: 1 << 24,
  now: () => performance.now(),
  log: silentLog,
});
const service = createPqcSourceService(engines, pool);
const context = {} as never;
after(async () => {
  pool.close();
  await engines.close();
});

describe('pqc-source over gRPC', () => {
  it('lists every KEM with its engine, or why there is none', async () => {
    const { algorithms = [] } = await service.listAlgorithms({}, context);
    assert.deepEqual(
      algorithms.map((row) => row.slot?.algorithm),
      KEM_ALGORITHMS.map((row) => row.name),
    );
    for (const row of algorithms) {
      const isBike = row.family === 'BIKE';
      assert.equal(row.engine === '', isBike, row.slot?.algorithm ?? '');
      assert.equal(row.unavailable !== '', isBike, row.slot?.algorithm ?? '');
    }
  });

  it('tells what the pool of key pairs has done', async () => {
    const slow = findKemAlgorithm('Classic-McEliece-348864') as KemAlgorithm;
    const held = Promise.withResolvers<never>();
    const engine = { ...engines.find(slow.name).engine, generateKeyPairs: () => held.promise };
    const asked = pool.generate(slow, engine, 3);
    const { algorithms = [] } = await service.listAlgorithms({}, context);
    const row = algorithms.find((one) => one.slot?.algorithm === slow.name);
    assert.deepEqual([row?.readyKeyPairs, row?.poolHits, row?.poolMisses], [0, 0n, 3n]);
    held.reject(new Error('enough'));
    await assert.rejects(asked, /enough/);
  });

  it('refuses public keys of a wrong length, and batches that no message holds', async () => {
    const row = findKemAlgorithm('ML-KEM-768') as KemAlgorithm;
    for (const bytes of [0, 1, row.publicKeyBytes - 1, row.publicKeyBytes + 1, 5000 * row.publicKeyBytes]) {
      await assert.rejects(
        async () => service.encapsulate({ algorithm: row.name, publicKeys: Buffer.alloc(bytes) }, context),
        (error) => isReason(error, 'BAD_REQUEST'),
        `${bytes} bytes`,
      );
    }
    await assert.rejects(
      async () => service.encapsulate({ algorithm: 'BIKE-L1', publicKeys: Buffer.alloc(1541) }, context),
      (error) => isReason(error, 'UNSUPPORTED') && /pqc\.engines/.test(String(error)),
    );
  });
});
