import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { findKemAlgorithm, KEM_ALGORITHMS, type KemAlgorithm } from '#common/catalogue/kems.ts';
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
const context = { signal: new AbortController().signal } as never;
const encapsulate = async (algorithm: string, bytes: number, peerNode = '') =>
  service.encapsulate({ algorithm, publicKeys: Buffer.alloc(bytes), peerNode }, context);
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
        async () => encapsulate(row.name, bytes),
        (error) => isReason(error, 'BAD_REQUEST'),
        `${bytes} bytes`,
      );
    }
    await assert.rejects(
      async () => encapsulate('BIKE-L1', 1541),
      (error) => isReason(error, 'UNSUPPORTED') && /pqc\.engines/.test(String(error)),
    );
  });

  it('lets peers take turns at each cost, so that none waits behind all that another asks for', async () => {
    const begun: { name: string; count: number; end: () => void }[] = [];
    const engine = {
      ...engines.find('ML-KEM-768').engine,
      encapsulate: (algorithm: KemAlgorithm, publicKeys: Buffer) =>
        new Promise<never>((_, reject) => {
          const count = publicKeys.length / algorithm.publicKeyBytes;
          begun.push({ name: algorithm.name, count, end: () => reject(new Error('enough')) });
        }),
    };
    const find = (name: string) => ({ algorithm: findKemAlgorithm(name) as KemAlgorithm, engine });
    const fair = createPqcSourceService({ find } as unknown as EngineSet, pool);
    const ask = (name: string, count: number, peerNode: string) => {
      const publicKeys = Buffer.alloc(count * (findKemAlgorithm(name) as KemAlgorithm).publicKeyBytes);
      Promise.resolve(fair.encapsulate({ algorithm: name, publicKeys, peerNode }, context)).catch(
        () => undefined,
      );
    };
    for (let i = 0; i < 200; i++) ask('HQC-256', 1, 'greedy');
    assert.ok(begun.length <= 16, `${begun.length} of one peer run at a time`);
    ask('ML-KEM-768', 3, 'honest');
    assert.equal(begun.at(-1)?.count, 3, 'what is quick waits for what is slow');
    ask('HQC-256', 2, 'honest');
    const running = begun.length;
    for (const { end } of begun.slice(0, 2)) end();
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(
      begun.slice(running).some(({ count }) => count === 2),
      'one peer waits behind another',
    );
    for (let i = 0; i < begun.length; i++) {
      begun[i]?.end();
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(begun.length, 202);
  });
});
