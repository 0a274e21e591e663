import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { findKemAlgorithm, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { KemEngine, KeyPairs } from './engines/kem-engine.ts';
import { PackedPrivateKeys } from './engines/packed-private-keys.ts';
import { KeyPairPool, type KeyPairPoolOptions } from './key-pair-pool.ts';

const SLOW = findKemAlgorithm('Classic-McEliece-348864') as KemAlgorithm;
const OTHER = findKemAlgorithm('Classic-McEliece-8192128') as KemAlgorithm;
const MEDIUM = findKemAlgorithm('HQC-128') as KemAlgorithm;
const LIGHT = findKemAlgorithm('ML-KEM-768') as KemAlgorithm;

/** An engine whose key generations finish when the test says so; every key pair has a number. */
function heldEngine() {
  const open: { algorithm: KemAlgorithm; count: number; finish(): void; fail(error: Error): void }[] = [];
  const made: { number: number; keys: Uint8Array }[] = [];
  let mostAtOnce = 0;
  const engine: KemEngine = {
    name: 'liboqs-native',
    supports: () => true,
    generateKeyPairs: (algorithm, count) => {
      const pair = Promise.withResolvers<KeyPairs>();
      open.push({
        algorithm,
        count,
        finish: () => {
          const keys = Buffer.alloc(count, 1);
          made.push({ number: made.length, keys });
          const publicKeys = Buffer.alloc(count);
          publicKeys.fill(made.length);
          pair.resolve({ publicKeys, privateKeys: new PackedPrivateKeys('liboqs-native', keys, count) });
        },
        fail: pair.reject,
      });
      mostAtOnce = Math.max(mostAtOnce, open.length);
      return pair.promise;
    },
    encapsulate: () => assert.fail(),
    decapsulate: () => assert.fail(),
    selfTest: () => assert.fail(),
    close: async () => undefined,
  };
  return {
    engine,
    open,
    made,
    mostAtOnce: () => mostAtOnce,
    async finishOne() {
      const next = open.shift();
      assert.ok(next, 'nothing is being generated');
      next.finish();
      await nextTurn();
      return next;
    },
    async finishAll(limit = 200) {
      for (let i = 0; open.length > 0; i++) {
        assert.ok(i < limit, 'the pool never stops generating');
        await this.finishOne();
      }
    },
  };
}

let now = 0;
let pool: KeyPairPool;
const start = (options: Partial<KeyPairPoolOptions> = {}) => {
  pool = new KeyPairPool({
    maxPairs: 8,
    maxBytes: 1 << 30,
    now: () => now,
    log: silentLog,
    concurrency: 2,
    ...options,
  });
  return pool;
};
const counters = (algorithm = SLOW) => {
  const found = pool.counters(algorithm.name);
  assert.ok(found);
  return found;
};

describe('key pairs made ahead', () => {
  beforeEach(() => {
    now = 0;
    mock.timers.enable({ apis: ['setInterval'] });
  });
  afterEach(() => {
    pool.close();
    mock.timers.reset();
  });

  it('makes the first while the caller waits, and the next ones in the background', async () => {
    const held = heldEngine();
    start();
    const first = pool.generate(SLOW, held.engine, 1);
    await held.finishAll();
    assert.equal((await first).privateKeys.count, 1);
    assert.deepEqual(counters(), {
      ready: 2,
      readyBytes: 2 * (SLOW.publicKeyBytes + SLOW.privateKeyBytes),
      hits: 0,
      misses: 1,
    });
    await pool.generate(SLOW, held.engine, 1);
    assert.equal(counters().hits, 1);
  });

  it('grows with demand up to its bound, and shrinks when it ends', async () => {
    const held = heldEngine();
    start({ maxPairs: 5 });
    for (let i = 0; i < 20; i++) {
      const pair = pool.generate(SLOW, held.engine, 1);
      await held.finishAll();
      (await pair).privateKeys.wipe();
    }
    assert.equal(counters().ready, 5);
    now += 2 * 60_000;
    mock.timers.tick(5_000);
    assert.equal(counters().ready, 2);
    now += 20 * 60_000;
    mock.timers.tick(5_000);
    assert.equal(counters().ready, 0);
    assert.ok(held.made.every(({ keys }) => keys.every((byte) => byte === 0)));
    await nextTurn();
    assert.equal(held.open.length, 0, 'the pool goes on without demand');
  });

  it('keeps within its memory over all algorithms', async () => {
    const held = heldEngine();
    const pairBytes = SLOW.publicKeyBytes + SLOW.privateKeyBytes;
    start({ maxBytes: 3 * pairBytes, maxPairs: 100 });
    for (const algorithm of [SLOW, OTHER]) {
      const asked = pool.generate(algorithm, held.engine, 10);
      await held.finishAll();
      await asked;
    }
    const bytes = counters(SLOW).readyBytes + counters(OTHER).readyBytes;
    assert.ok(bytes > 0 && bytes <= 3 * pairBytes, `${bytes} bytes`);
  });

  it('never hands a pair out twice', async () => {
    const held = heldEngine();
    start();
    const asked = [3, 1, 2, 1].map((count) => pool.generate(SLOW, held.engine, count));
    await held.finishAll();
    asked.push(pool.generate(SLOW, held.engine, 4));
    await held.finishAll();
    const batches = await Promise.all(asked);
    const numbers = batches.flatMap(({ publicKeys }) => [...publicKeys]);
    assert.equal(new Set(numbers).size, 11);
    assert.equal(numbers.length, 11);
    assert.deepEqual(
      batches.map(({ privateKeys }) => privateKeys.count),
      [3, 1, 2, 1, 4],
    );
  });

  it('serves those who wait before it fills up, and runs no more at a time than allowed', async () => {
    const held = heldEngine();
    start();
    const first = pool.generate(SLOW, held.engine, 1);
    await held.finishOne();
    await first;
    assert.equal(held.open.length, 1, 'one generation in the background');
    const second = pool.generate(OTHER, held.engine, 2);
    await held.finishOne();
    assert.equal(held.open[0]?.algorithm, OTHER);
    assert.equal(held.open[1]?.algorithm, OTHER);
    await held.finishAll();
    await second;
    assert.equal(held.mostAtOnce(), 2);
  });

  it('does not let a quick algorithm wait for a slow one', async () => {
    const held = heldEngine();
    start();
    void pool.generate(SLOW, held.engine, 5);
    for (const algorithm of [MEDIUM, LIGHT]) {
      const quick = pool.generate(algorithm, held.engine, 1);
      const task = held.open.find((one) => one.algorithm === algorithm);
      assert.ok(task, `${algorithm.name} waits`);
      task.finish();
      await quick;
      held.open.splice(held.open.indexOf(task), 1);
    }
    await held.finishAll();
  });

  it('finds out which other algorithms are slow', async () => {
    const held = heldEngine();
    start();
    async function ask(algorithm: KemAlgorithm, milliseconds: number) {
      const asked = pool.generate(algorithm, held.engine, 1);
      now += milliseconds;
      await held.finishAll();
      await asked;
    }
    for (let i = 0; i < 6; i++) await ask(MEDIUM, 10);
    assert.ok(counters(MEDIUM).ready > 0);
    for (let i = 0; i < 6; i++) await ask(LIGHT, 10);
    assert.equal(counters(LIGHT).ready, 0);
  });

  it('tells those who wait when a generation fails, and makes no more for a while', async () => {
    const held = heldEngine();
    start();
    const refused = assert.rejects(pool.generate(SLOW, held.engine, 2), /broken/);
    held.open.shift()?.fail(new Error('broken'));
    await held.finishOne();
    await refused;
    assert.ok(
      held.made.every(({ keys }) => keys.every((byte) => byte === 0)),
      'the other half is wiped',
    );
    assert.equal(held.open.length, 0);
    now += 2_000;
    mock.timers.tick(5_000);
    assert.equal(held.open.length, 1);
    await held.finishAll();
  });

  it('wipes what it holds when it closes, also what comes later, and refuses those who wait', async () => {
    const held = heldEngine();
    start();
    const first = pool.generate(SLOW, held.engine, 1);
    await held.finishAll();
    (await first).privateKeys.wipe();
    const waiting = assert.rejects(pool.generate(SLOW, held.engine, 8), (error) =>
      isReason(error, 'SHUTTING_DOWN'),
    );
    pool.close();
    await waiting;
    await held.finishAll();
    assert.ok(held.made.length > 3);
    assert.ok(held.made.every(({ keys }) => keys.every((byte) => byte === 0)));
    await assert.rejects(pool.generate(SLOW, held.engine, 1), (error) => isReason(error, 'SHUTTING_DOWN'));
  });

  it('makes none ahead when it is told to hold none', async () => {
    const held = heldEngine();
    start({ maxPairs: 0 });
    const asked = pool.generate(SLOW, held.engine, 1);
    await held.finishAll();
    await asked;
    assert.equal(counters().ready, 0);
  });
});
