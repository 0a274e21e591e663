import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { valueSymbol } from 'piscina';
import { findKemAlgorithm, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { asBuffer } from '#common/crypto/bytes.ts';
import runInWorker from './kem-worker.ts';
import type { WorkerAnswer, WorkerTask } from './kem-worker-task.ts';
import { createLiboqsWasmEngine, type WorkerPool } from './liboqs-wasm.ts';
import { PackedPrivateKeys } from './packed-private-keys.ts';

const KYBER = findKemAlgorithm('Kyber512') as KemAlgorithm;
const NONE = new Uint8Array(0);

/** Nothing of it is left here: it has moved, or is zero. */
const isGone = (bytes: Uint8Array) =>
  (bytes.buffer as ArrayBuffer).detached || bytes.every((byte) => byte === 0);

/** `bytes` as they come off the wire: a view of something larger, which holds other things too. */
function received(bytes: number, fill: number): Buffer {
  return Buffer.alloc(1024 * 1024, 0xee)
    .subarray(100, 100 + bytes)
    .fill(fill);
}

function answerTo({ operation, count }: WorkerTask): WorkerAnswer {
  return {
    first: new Uint8Array(count * (operation === 'generate' ? KYBER.publicKeyBytes : KYBER.ciphertextBytes)),
    second: new Uint8Array(
      count * (operation === 'generate' ? KYBER.privateKeyBytes : KYBER.sharedSecretBytes),
    ).fill(0x77),
  };
}

/** An engine whose tasks cross to another thread as Piscina's do; `fails` refuses them before that. */
function engineWith(fails?: (task: WorkerTask) => boolean) {
  const sent: WorkerTask[] = [];
  const arrived: WorkerTask[] = [];
  const pool: WorkerPool = {
    queueSize: 0,
    destroy: async () => undefined,
    run: async (task, { transferList } = {}) => {
      sent.push(task);
      await undefined;
      if (fails?.(task)) throw new Error('the pool was closed');
      arrived.push(structuredClone(task, { transfer: [...((transferList ?? []) as ArrayBuffer[])] }));
      return answerTo(task);
    },
  };
  return { engine: createLiboqsWasmEngine(async () => pool), sent, arrived };
}

describe('what is sent to a worker', () => {
  it('has memory of exactly its size there, and none here any more', async () => {
    const { engine, sent, arrived } = engineWith();
    const { privateKeys } = await engine.generateKeyPairs(KYBER, 3);
    const publicKeys = received(2 * KYBER.publicKeyBytes, 1);
    await engine.encapsulate(KYBER, publicKeys);
    const ciphertexts = received(2 * KYBER.ciphertextBytes, 2);
    await engine.decapsulate(KYBER, privateKeys, ciphertexts);
    assert.deepEqual(
      arrived.map(({ first, second }) => [first.length, second.length]),
      [
        [0, 0],
        [2 * KYBER.publicKeyBytes, 0],
        [2 * KYBER.ciphertextBytes, 2 * KYBER.privateKeyBytes],
      ],
    );
    for (const { operation, first, second } of arrived) {
      for (const bytes of [first, second])
        assert.equal(bytes.buffer.byteLength, bytes.length, `${operation}: what came along`);
    }
    assert.ok(arrived[2]?.second.every((byte) => byte === 0x77));
    for (const { first, second } of sent) assert.ok(isGone(first) && isGone(second), 'a copy stays here');
    assert.ok(publicKeys.every((byte) => byte === 1) && ciphertexts.every((byte) => byte === 2));
  });

  it('is wiped where it never got there', async () => {
    const { engine, sent, arrived } = engineWith(({ operation }) => operation === 'decapsulate');
    const { privateKeys } = await engine.generateKeyPairs(KYBER, 1);
    const ciphertexts = received(KYBER.ciphertextBytes, 2);
    await assert.rejects(engine.decapsulate(KYBER, privateKeys, ciphertexts), /AGREEMENT_FAILED/);
    assert.equal(arrived.length, 1);
    const [, refused] = sent;
    assert.ok(refused && isGone(refused.second), 'a copy of the private keys stays');
    assert.ok(
      ciphertexts.every((byte) => byte === 2),
      'an input was changed',
    );
    const kept = PackedPrivateKeys.lend(privateKeys, 'liboqs-wasm', 1);
    assert.ok(
      kept.every((byte) => byte === 0x77),
      'the keys of their owner were changed',
    );
  });
});

describe('what a worker has received', () => {
  const task = (change: Partial<WorkerTask>): WorkerTask => ({
    ...KYBER,
    factory: 'createKyber512',
    operation: 'generate',
    count: 2,
    first: NONE,
    second: NONE,
    ...change,
  });
  const run = async (one: WorkerTask): Promise<WorkerAnswer> => {
    const answer = (await runInWorker(one)) as { [valueSymbol]: WorkerAnswer };
    return answer[valueSymbol];
  };

  it('is wiped when it is done with, and what it answers has memory of exactly its size', async () => {
    const { first: publicKeys, second: privateKeys } = await run(task({}));
    const encapsulating = task({ operation: 'encapsulate', first: publicKeys.slice() });
    const { first: ciphertexts, second: secrets } = await run(encapsulating);
    const decapsulating = task({
      operation: 'decapsulate',
      first: ciphertexts.slice(),
      second: privateKeys.slice(),
    });
    const { second: opened } = await run(decapsulating);
    assert.deepEqual(asBuffer(opened), asBuffer(secrets));
    for (const bytes of [publicKeys, privateKeys, ciphertexts, secrets, opened])
      assert.equal(bytes.buffer.byteLength, bytes.length);
    for (const { first, second } of [encapsulating, decapsulating])
      assert.ok(isGone(first) && isGone(second), 'something stays');
  });

  it('is wiped though the work fails', async () => {
    const { second: privateKeys } = await run(task({}));
    const ciphertexts = new Uint8Array(2 * KYBER.ciphertextBytes).fill(1);
    for (const change of [
      // Too short for the library, which refuses them.
      { first: ciphertexts.subarray(0, -1) },
      { factory: 'createNothing', first: ciphertexts },
    ]) {
      const failing = task({ operation: 'decapsulate', second: privateKeys.slice(), ...change });
      await assert.rejects(run(failing));
      assert.ok(isGone(failing.second), 'private keys stay');
    }
  });
});
