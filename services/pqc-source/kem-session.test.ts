import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { findKemAlgorithm, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { PushQueue } from '#common/grpc/push-queue.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { KeyPairsRequest, KeyPairsResponse } from '#gen/keyweave/v1/pqc_source.ts';
import { nativeMissing } from '#test/helpers/engines.ts';
import { EngineSet } from './engine-set.ts';
import { createEngines } from './engines/built-in-engines.ts';
import type { KemEngine, PrivateKeyBatch } from './engines/kem-engine.ts';
import { serveKemSession } from './kem-session.ts';
import { KeyPairPool } from './key-pair-pool.ts';

const KEM = 'ML-KEM-768';
const row = findKemAlgorithm(KEM) as KemAlgorithm;

let engine: KemEngine;
let pool: KeyPairPool;
/** Every batch of private keys that was made, with whether it has been wiped. */
let batches: { keys: PrivateKeyBatch; wiped: boolean }[];

/** The real engine, watched. */
function watched(real: KemEngine): KemEngine {
  return {
    ...real,
    generateKeyPairs: async (algorithm, count) => {
      const made = await real.generateKeyPairs(algorithm, count);
      const batch = { keys: made.privateKeys, wiped: false };
      const { wipe } = made.privateKeys;
      made.privateKeys.wipe = () => {
        batch.wiped = true;
        wipe.call(made.privateKeys);
      };
      batches.push(batch);
      return made;
    },
  };
}

before(() => {
  const { engines } = createEngines(nativeMissing ? ['openssl'] : ['liboqs-native']);
  engine = watched(engines[0] as KemEngine);
  pool = new KeyPairPool({ maxPairs: 2, maxBytes: 1 << 24, now: () => performance.now(), log: silentLog });
});
after(() => pool.close());
beforeEach(() => {
  batches = [];
});

function openSession() {
  const set = new EngineSet({ engines: [engine], missing: new Map() }, silentLog);
  const requests = new PushQueue<KeyPairsRequest>();
  const abort = new AbortController();
  const answers = serveKemSession(set, pool, requests, abort.signal);
  const next = async (): Promise<Partial<KeyPairsResponse>> => (await answers.next()).value;
  const ask = async (request: Partial<KeyPairsRequest> & { id: number }) => {
    requests.push({ ...request } as KeyPairsRequest);
    return next();
  };
  return { requests, abort, ask, next, answers };
}

const generate = (id: number, count = 2, algorithm = KEM) => ({ id, generate: { algorithm, count } });

describe('a session of key pairs', () => {
  it('decapsulates once with each batch, and wipes it', async () => {
    const { ask, requests, next } = openSession();
    const { publicKeys = Buffer.alloc(0) } = await ask(generate(1));
    assert.equal(publicKeys.length, 2 * row.publicKeyBytes);
    const { ciphertexts, sharedSecrets } = await engine.encapsulate(row, publicKeys);
    const opened = await ask({ id: 2, decapsulate: { keyPairsId: 1, ciphertexts } });
    assert.deepEqual(opened.sharedSecrets, sharedSecrets);
    assert.deepEqual(
      batches.map((batch) => batch.wiped),
      [true],
    );
    const again = await ask({ id: 3, decapsulate: { keyPairsId: 1, ciphertexts } });
    assert.equal(again.failure?.reason, 'AGREEMENT_FAILED');
    requests.end();
    assert.equal(await next(), undefined);
  });

  it('uses the first keys of a batch where fewer ciphertexts come', async () => {
    const { ask, abort } = openSession();
    const { publicKeys = Buffer.alloc(0) } = await ask(generate(1, 3));
    const { ciphertexts, sharedSecrets } = await engine.encapsulate(
      row,
      publicKeys.subarray(0, row.publicKeyBytes),
    );
    const opened = await ask({ id: 2, decapsulate: { keyPairsId: 1, ciphertexts } });
    assert.deepEqual(opened.sharedSecrets, sharedSecrets);
    abort.abort();
  });

  it('refuses ciphertexts of a wrong length or number before the engine sees them', async () => {
    for (const bytes of [0, 1, row.ciphertextBytes - 1, row.ciphertextBytes + 1, 3 * row.ciphertextBytes]) {
      const { ask, abort } = openSession();
      await ask(generate(1));
      const answer = await ask({ id: 2, decapsulate: { keyPairsId: 1, ciphertexts: Buffer.alloc(bytes) } });
      assert.equal(answer.failure?.reason, 'BAD_REQUEST', `${bytes} bytes`);
      assert.ok(batches.every((batch) => batch.wiped));
      batches = [];
      abort.abort();
    }
  });

  it('refuses what it cannot do, in words, and goes on', async () => {
    const { ask, abort } = openSession();
    assert.match((await ask(generate(1, 1, 'ML-KEM-999'))).failure?.detail ?? '', /ML-KEM-999/);
    assert.equal((await ask(generate(1, 0))).failure?.reason, 'BAD_REQUEST');
    assert.equal((await ask(generate(1, 1_000_000))).failure?.reason, 'BAD_REQUEST');
    assert.equal((await ask({ id: 1 })).failure?.reason, 'BAD_REQUEST');
    assert.ok((await ask(generate(1))).publicKeys);
    assert.match((await ask(generate(1))).failure?.detail ?? '', /in use/);
    abort.abort();
  });

  it('wipes what is discarded, and the rest when it ends', async () => {
    const { ask, requests, answers } = openSession();
    await ask(generate(1));
    await ask(generate(2));
    requests.push({ id: 3, discard: { keyPairsId: 1 } } as KeyPairsRequest);
    await ask(generate(4));
    assert.deepEqual(
      batches.map((batch) => batch.wiped),
      [true, false, false],
    );
    await answers.return(undefined);
    assert.ok(batches.every((batch) => batch.wiped));
  });

  it('takes slow key pairs out of the pool and decapsulates with them', async (test) => {
    if (nativeMissing) return test.skip(nativeMissing);
    const slow = findKemAlgorithm('Classic-McEliece-348864f') as KemAlgorithm;
    const { ask, abort } = openSession();
    const { publicKeys = Buffer.alloc(0) } = await ask(generate(1, 3, slow.name));
    const { ciphertexts, sharedSecrets } = await engine.encapsulate(slow, publicKeys);
    const opened = await ask({ id: 2, decapsulate: { keyPairsId: 1, ciphertexts } });
    assert.deepEqual(opened.sharedSecrets, sharedSecrets);
    assert.equal(batches.filter((batch) => batch.wiped).length, 3);
    abort.abort();
  });
});
