import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { KemClient } from './kem-client.ts';
import type { KemSession, KeyPairBatch } from './kem-session.ts';

interface FakeSession {
  readonly made: KeyPairBatch[];
  readonly used: KeyPairBatch[];
  readonly discarded: KeyPairBatch[];
  failing: boolean;
  closed: number;
}

let sessions: FakeSession[];
let nowMs: number;
let streams: KemClient;

function open(): KemSession {
  const fake: FakeSession = { made: [], used: [], discarded: [], failing: false, closed: 0 };
  sessions.push(fake);
  return {
    generate: async () => {
      if (fake.failing) throw new KeyweaveError('SERVICE_UNAVAILABLE', 'as the test says');
      const batch = { id: fake.made.length + 1, publicKeys: Buffer.alloc(1), session: 1 };
      fake.made.push(batch);
      return batch;
    },
    decapsulate: async (batch: KeyPairBatch) => {
      fake.used.push(batch);
      return Buffer.alloc(32);
    },
    discard: (batch: KeyPairBatch) => fake.discarded.push(batch),
    close: () => {
      fake.closed += 1;
    },
  } as unknown as KemSession;
}

beforeEach(() => {
  sessions = [];
  nowMs = 7_000;
  streams = new KemClient(undefined as never, () => nowMs, open);
});

const generate = () => streams.generate('ML-KEM-768', 1, 1000);
const decapsulate = (batch: KeyPairBatch) => streams.decapsulate(batch, Buffer.alloc(1), 1000);

describe('KemClient', () => {
  it('spreads batches over four streams and goes back to the one that made a batch', async () => {
    const batches = [];
    for (let i = 0; i < 8; i++) batches.push(await generate());
    assert.deepEqual(
      sessions.map(({ made }) => made.length),
      [2, 2, 2, 2],
    );
    for (const batch of batches.reverse()) await decapsulate(batch);
    for (const { made, used } of sessions) assert.deepEqual(used, made.toReversed());
  });

  it('uses a batch once', async () => {
    const batch = await generate();
    await decapsulate(batch);
    streams.discard(batch);
    assert.deepEqual(sessions[0]?.discarded, []);
    await assert.rejects(decapsulate(batch), /^TypeError: a batch of key pairs is used once/);
    const unused = await generate();
    streams.discard(unused);
    streams.discard(unused);
    assert.deepEqual(sessions[1]?.discarded, [unused]);
  });

  it('opens streams anew after a minute; an old one ends with the last of its batches', async () => {
    const [used, discarded, , idle] = [
      await generate(),
      await generate(),
      await generate(),
      await generate(),
    ];
    await decapsulate(idle);
    nowMs += 59_999;
    const also = await generate();
    for (let i = 0; i < 3; i++) await decapsulate(await generate());
    assert.equal(sessions.length, 4);
    nowMs += 1;
    for (let i = 0; i < 4; i++) await generate();
    assert.equal(sessions.length, 8);
    const closed = () => sessions.slice(0, 4).map((session) => session.closed === 1);
    assert.deepEqual(closed(), [false, false, false, true]);
    await decapsulate(also);
    assert.deepEqual(closed(), [false, false, false, true], 'it ended with the first of its batches');
    await decapsulate(used);
    streams.discard(discarded);
    assert.deepEqual(closed(), [true, true, false, true]);
    streams.close();
    assert.ok(sessions.every((session) => session.closed === 1));
  });

  it('forgets batches that failed', async () => {
    await generate();
    (sessions[0] as FakeSession).failing = true;
    for (let i = 0; i < 3; i++) await generate();
    await assert.rejects(generate(), /as the test says/);
    streams.discard((sessions[0] as FakeSession).made[0] as KeyPairBatch);
    nowMs += 60_000;
    for (let i = 0; i < 4; i++) await generate();
    assert.equal(sessions[0]?.closed, 1);
  });

  it('keeps a stream that has nothing to do for those who come', async () => {
    for (let i = 0; i < 8; i++) await decapsulate(await generate());
    assert.deepEqual(
      sessions.map((session) => session.closed),
      [0, 0, 0, 0],
    );
  });

  it('opens sessions of pqc-source where nothing else is given', async () => {
    // biome-ignore lint/correctness/useYield: it fails before it gives anything
    const keyPairs = async function* () {
      throw new KeyweaveError('SERVICE_UNAVAILABLE', 'no pqc-source');
    };
    const real = new KemClient({ keyPairs } as never, () => 0);
    await assert.rejects(real.generate('ML-KEM-768', 1, 1_000), /no pqc-source/);
  });
});
