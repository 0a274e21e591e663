import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import type { BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ALICE, BOB, IdleProducer, keyStream, termsOf } from '#test/helpers/streams.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import { StreamEvents } from '../../streams/stream-events.ts';
import { readStreamTerms, withEnoughSecrets } from '../../streams/stream-terms.ts';
import { HeldBatches } from './held-batches.ts';

const PUBLIC_KEY_BYTES = 1184;
const TAG = Buffer.alloc(32, 7);
const INCARNATION = Buffer.alloc(8, 1);
const FAILURE = new KeyweaveError('QKD_UNAVAILABLE', 'as the test says');

let stream: KeyStream;
let batches: HeldBatches;
let producer: IdleProducer;
let clock: FakeClock;
/** What listeners were told of batches that were dropped. */
let dropped: [first: number, count: number, reason: ErrorReason][];

beforeEach(() => {
  begin(['ML-KEM-768', 'QKD'], false);
});

function begin(
  keySources: readonly string[],
  allowDegraded: boolean,
  method = 'xoring',
  maxBufferedChunks = 16,
): void {
  clock = new FakeClock();
  dropped = [];
  producer = new IdleProducer('responder');
  // The batches that are held are on their way.
  Object.defineProperty(producer, 'coming', { get: () => batches?.coming ?? 0 });
  stream = keyStream({
    incarnation: INCARNATION,
    terms: termsOf(method, keySources),
    role: 'responder',
    qos: { timeoutMs: 1000, metadataMimetype: '' },
    allowDegraded,
    maxBufferedChunks,
    clock,
    events: new StreamEvents([
      { dropped: (_, first, count, { reason }) => void dropped.push([first, count, reason]) },
    ]),
    producer: () => producer,
  });
  batches = new HeldBatches(stream, clock);
}

function offer(firstIndex: number, count: number, change: Partial<BatchOffer> = {}): BatchOffer {
  return {
    keyStreamId: stream.idBytes,
    incarnation: INCARNATION,
    firstIndex,
    count,
    publicKeys: [{ slot: 0, publicKeys: Buffer.alloc(count * PUBLIC_KEY_BYTES) }],
    qkd: { epoch: 0, qkdKeyStreamId: '', position: 0n, blockKeys: 1 },
    degradedSlot: 0,
    ...change,
  };
}

/** Admits a batch and holds keys for it whose bytes are all `value`. */
function held(firstIndex: number, count: number, value: number): Buffer {
  const batch = offer(firstIndex, count);
  batches.admit(batch);
  const keys = Buffer.alloc(count * 32, value);
  batches.hold(batch, { count, keys, initiatorTags: Buffer.alloc(count * 32, TAG) });
  return keys;
}

const confirm = (firstIndex: number, count: number, tag = TAG) =>
  batches.confirm({
    keyStreamId: stream.idBytes,
    incarnation: INCARNATION,
    firstIndex,
    count,
    initiatorTags: Buffer.alloc(count * tag.length, tag),
  }).released;

const refuses = (batch: BatchOffer, reason: ErrorReason) =>
  assert.throws(
    () => batches.admit(batch),
    (error) => isReason(error, reason),
    `${reason} expected`,
  );

describe('HeldBatches', () => {
  it('releases nothing before the tags of the initiator, and all of the batch then', () => {
    held(0, 3, 1);
    assert.equal(stream.buffer.size, 0);
    assert.equal(batches.coming, 3);
    assert.equal(confirm(0, 3), true);
    assert.equal(stream.buffer.size, 3);
    assert.equal(batches.coming, 0);
  });

  it('decides once: asked again it gives the same answer, whatever comes along', () => {
    held(0, 1, 1);
    assert.equal(confirm(0, 1, Buffer.alloc(32, 8)), false);
    assert.equal(confirm(0, 1), false, 'a batch that was dropped came back');
    held(1, 1, 2);
    assert.equal(confirm(1, 1), true);
    assert.equal(confirm(1, 1, Buffer.alloc(32, 8)), true);
    assert.equal(stream.buffer.size, 1);
  });

  it('drops and wipes a batch with a wrong tag, a wrong count or none at all', () => {
    for (const [first, count, tags] of [
      [0, 2, Buffer.alloc(64, 8)],
      [2, 1, TAG],
      [4, 2, Buffer.alloc(0)],
    ] as const) {
      const keys = held(first, 2, 5);
      assert.equal(
        batches.confirm({
          ...{ keyStreamId: stream.idBytes, incarnation: INCARNATION },
          ...{ firstIndex: first, count, initiatorTags: tags },
        }).released,
        false,
      );
      assert.ok(keys.every((byte) => byte === 0));
    }
    assert.equal(stream.buffer.size, 0);
    assert.equal(stream.indexes.frontier, 6, 'the indexes of dropped batches are burned');
  });

  it('never makes an index twice', () => {
    held(5, 2, 1);
    for (const first of [0, 5, 6]) refuses(offer(first, 1), 'AGREEMENT_FAILED');
    held(7, 1, 2);
  });

  it('makes one batch of a stream at a time', () => {
    batches.admit(offer(0, 1));
    refuses(offer(1, 1), 'AGREEMENT_FAILED');
    batches.fail(FAILURE);
    batches.admit(offer(1, 1));
  });

  it('asks again for those who counted on a batch that failed', async () => {
    const { wanted } = producer;
    batches.admit(offer(0, 2));
    const waiting = stream.take(undefined, 50, () => undefined, new AbortController().signal);
    assert.deepEqual(wanted, [0], 'it is on its way');
    batches.fail(FAILURE);
    assert.ok((wanted[1] ?? 0) > 0, `${wanted}`);
    const ended = assert.rejects(waiting as Promise<unknown>, /TIMEOUT/);
    await clock.advance(50);
    await ended;
  });

  it('holds several unconfirmed batches, releases in the order of indexes, and drops what is older', () => {
    const first = held(0, 1, 1);
    held(1, 1, 2);
    assert.equal(confirm(1, 1), true);
    assert.ok(first.every((byte) => byte === 0));
    assert.equal(confirm(0, 1), false);
    assert.deepEqual([stream.buffer.take()?.index, stream.buffer.take()], [1, undefined]);
    const many = [2, 3, 4, 5, 6].map((index) => held(index, 1, index));
    assert.ok(
      many[0]?.every((byte) => byte === 0),
      'more are held than anybody can use',
    );
    assert.equal(confirm(6, 1), true);
  });

  it('refuses what does not carry exactly the agreed slots', () => {
    const keys = (bytes: number) => Buffer.alloc(bytes);
    refuses(offer(0, 1, { publicKeys: [] }), 'BAD_REQUEST');
    refuses(offer(0, 1, { publicKeys: [{ slot: 1, publicKeys: keys(PUBLIC_KEY_BYTES) }] }), 'BAD_REQUEST');
    refuses(offer(0, 1, { publicKeys: [{ slot: 9, publicKeys: keys(PUBLIC_KEY_BYTES) }] }), 'BAD_REQUEST');
    refuses(
      offer(0, 1, { publicKeys: [{ slot: 0, publicKeys: keys(PUBLIC_KEY_BYTES - 1) }] }),
      'BAD_REQUEST',
    );
    refuses(
      offer(0, 1, { publicKeys: [{ slot: 0, publicKeys: keys(2 * PUBLIC_KEY_BYTES) }] }),
      'BAD_REQUEST',
    );
    refuses(offer(0, 1, { qkd: undefined }), 'BAD_REQUEST');
    refuses(offer(0, 1, { degradedSlot: 2, qkd: undefined }), 'AGREEMENT_FAILED');
    refuses(offer(0, 1, { degradedSlot: 99 }), 'AGREEMENT_FAILED');
    refuses(offer(0, 0), 'BAD_REQUEST');
    refuses(offer(0, 1025), 'BAD_REQUEST');
    refuses(offer(0xffffffff, 1), 'BAD_REQUEST');
    held(0, 1, 1);
  });

  it('lets a shared_seed stand in for the QKD slot of a list of QKD and one KEM, and for nothing else', () => {
    const pair = (slot: number) => ({ slot, publicKeys: Buffer.alloc(PUBLIC_KEY_BYTES) });
    const { qkd } = offer(0, 1);
    const cases: [readonly string[], Partial<BatchOffer>][] = [
      [['QKD'], { degradedSlot: 1, publicKeys: [], qkd: undefined }],
      [['ML-KEM-768'], { degradedSlot: 1, publicKeys: [], qkd: undefined }],
      [['ML-KEM-768', 'QKD'], { degradedSlot: 1, publicKeys: [] }],
      [['ML-KEM-768', 'ML-KEM-768'], { degradedSlot: 2, publicKeys: [pair(0)], qkd: undefined }],
      [['QKD', 'QKD'], { degradedSlot: 1, publicKeys: [] }],
      [
        ['ML-KEM-768', 'QKD', 'ML-KEM-768'],
        { degradedSlot: 2, publicKeys: [pair(0), pair(2)], qkd: undefined },
      ],
      [['ML-KEM-768', 'QKD', 'QKD'], { degradedSlot: 2, publicKeys: [pair(0)], qkd }],
    ];
    for (const [sources, change] of cases) {
      begin(sources, true, 'hkdf-sha384');
      assert.throws(
        () => batches.admit(offer(0, 1, change)),
        (error) => isReason(error, 'AGREEMENT_FAILED'),
        `${sources} with slot ${change.degradedSlot} replaced was taken`,
      );
    }
    begin(['ML-KEM-768', 'QKD'], true);
    assert.equal(batches.admit(offer(0, 1, { degradedSlot: 2, qkd: undefined })), 1);
    begin(['QKD', 'ML-KEM-768'], true);
    assert.equal(batches.admit(offer(0, 1, { degradedSlot: 1, publicKeys: [pair(1)], qkd: undefined })), 1);
  });

  it('takes no more than there is room for, what is unconfirmed counted', () => {
    assert.equal(batches.admit(offer(0, 20)), 16);
    batches.fail(FAILURE);
    held(20, 10, 1);
    assert.equal(batches.admit(offer(30, 10)), 6);
    batches.fail(FAILURE);
    held(40, 6, 2);
    refuses(offer(46, 1), 'NO_ROOM');
  });

  it('wipes what is unconfirmed at its end, and takes nothing after it', () => {
    const keys = held(0, 2, 1);
    const batch = offer(2, 1);
    batches.admit(batch);
    batches.stop();
    assert.ok(keys.every((byte) => byte === 0));
    const late = Buffer.alloc(32, 9);
    assert.throws(() => batches.hold(batch, { count: 1, keys: late, initiatorTags: TAG }), /UNKNOWN_STREAM/);
    assert.ok(late.every((byte) => byte === 0));
    refuses(offer(3, 1), 'UNKNOWN_STREAM');
  });

  it('takes batches up to the largest that there are, and up to the last index', () => {
    begin(['ML-KEM-768', 'QKD'], false, 'xoring', 2_048);
    assert.equal(batches.admit(offer(0, 1_024)), 1_024);
    batches.fail(FAILURE);
    assert.equal(batches.admit(offer(0xffffffff - 2, 2)), 2);
  });

  it('counts what is buffered against its room, and those who wait for it', async () => {
    held(0, 15, 1);
    confirm(0, 15);
    assert.equal(batches.admit(offer(15, 9)), 1);
    batches.fail(FAILURE);
    for (let i = 0; i < 15; i++) stream.buffer.take();
    const leaving = new AbortController();
    const waiting = [20, 21].map((index) => stream.buffer.wait(index + 10, 50, () => 'late', leaving.signal));
    assert.equal(batches.admit(offer(24, 20)), 18);
    leaving.abort();
    await Promise.allSettled(waiting);
  });

  it('never makes an index twice, also of a batch that failed or that it shortened', () => {
    batches.admit(offer(3, 5));
    batches.fail(FAILURE);
    for (const first of [3, 7]) refuses(offer(first, 1), 'AGREEMENT_FAILED');
    const shortened = offer(8, 5);
    batches.admit(shortened, 2);
    batches.hold(shortened, { count: 2, keys: Buffer.alloc(64), initiatorTags: Buffer.alloc(64, TAG) });
    refuses(offer(9, 1), 'AGREEMENT_FAILED');
    assert.equal(batches.admit(offer(10, 1)), 1);
  });

  it('says of each key whether a shared_seed stood in for a source of it', () => {
    begin(['ML-KEM-768', 'QKD'], true);
    for (const [firstIndex, degradedSlot] of [
      [0, 0],
      [1, 2],
    ] as const) {
      const batch = offer(firstIndex, 1, degradedSlot === 0 ? {} : { degradedSlot, qkd: undefined });
      batches.admit(batch);
      batches.hold(batch, { count: 1, keys: Buffer.alloc(32), initiatorTags: TAG });
      confirm(firstIndex, 1);
      assert.equal(stream.buffer.take()?.degraded, degradedSlot !== 0);
    }
  });

  it('drops a batch that is never confirmed, after its time and not before', async () => {
    const keys = held(0, 1, 1);
    held(1, 1, 2);
    assert.equal(confirm(1, 1), true);
    const late = held(2, 1, 3);
    await clock.advance(119_999);
    assert.equal(batches.coming, 1, 'it was dropped too early');
    await clock.advance(1);
    assert.ok([...keys, ...late].every((byte) => byte === 0));
    assert.equal(batches.coming, 0);
    assert.equal(confirm(2, 1), false);
    assert.deepEqual([stream.buffer.size, stream.indexes.frontier], [1, 3]);
  });

  it('leaves no timer behind for a batch that is decided', () => {
    const { pending } = clock;
    held(0, 1, 1);
    confirm(0, 1);
    held(1, 1, 1);
    confirm(1, 1, Buffer.alloc(32, 8));
    assert.equal(clock.pending, pending);
  });

  it('holds four unconfirmed batches and no fifth', () => {
    const keys = [0, 1, 2, 3].map((index) => held(index, 1, 1));
    assert.ok(keys.every((key) => key.every((byte) => byte === 1)));
    held(4, 1, 1);
    assert.deepEqual(
      keys.map((key) => key[0]),
      [0, 1, 1, 1],
    );
    assert.equal(stream.indexes.frontier, 1, 'the index of what was dropped is burned, and no other');
  });

  it('keeps newer batches when an older one is dropped or confirmed', () => {
    held(0, 1, 1);
    held(1, 1, 2);
    held(2, 1, 3);
    assert.equal(confirm(0, 1, Buffer.alloc(32, 8)), false);
    assert.equal(confirm(1, 1), true);
    assert.equal(confirm(2, 1), true);
    assert.equal(stream.buffer.size, 2);
  });

  it('gives an index up only once nothing before it can come', async () => {
    held(0, 2, 1);
    batches.admit(offer(2, 2));
    const waiting = assert.rejects(
      stream.buffer.wait(3, 10_000, () => 'late', new AbortController().signal),
      /index 3 has been taken, or was dropped/,
    );
    batches.fail(FAILURE);
    assert.deepEqual(
      [stream.indexes.frontier, stream.buffer.waiting],
      [0, 1],
      'the first batch is still open',
    );
    confirm(0, 2);
    await waiting;
    assert.equal(stream.indexes.frontier, 4);
    batches.admit(offer(4, 2));
    batches.stop();
    assert.equal(stream.indexes.frontier, 4, 'the batch that is being made is still open');
    batches.fail(FAILURE);
    assert.equal(stream.indexes.frontier, 6);
  });

  it('gives the indexes up of what it could not hold any more, and says so', () => {
    const batch = offer(0, 2);
    batches.admit(batch);
    batches.stop();
    const keys = { count: 2, keys: Buffer.alloc(64), initiatorTags: Buffer.alloc(64) };
    assert.throws(() => batches.hold(batch, keys), /UNKNOWN_STREAM/);
    batches.fail(FAILURE);
    assert.deepEqual([batches.coming, stream.indexes.frontier], [0, 2]);
    assert.deepEqual(dropped, [[0, 2, 'QKD_UNAVAILABLE']]);
  });

  it('tells once of every batch that is dropped: which indexes, and why', () => {
    batches.admit(offer(0, 2));
    batches.fail(FAILURE);
    batches.fail(FAILURE);
    held(2, 3, 1);
    confirm(2, 3, Buffer.alloc(32, 8));
    confirm(2, 3, Buffer.alloc(32, 8));
    held(5, 1, 1);
    confirm(5, 1);
    held(6, 1, 1);
    batches.stop();
    batches.stop();
    assert.deepEqual(dropped, [
      [0, 2, 'QKD_UNAVAILABLE'],
      [2, 3, 'AGREEMENT_FAILED'],
      [6, 1, 'AGREEMENT_FAILED'],
    ]);
  });

  it('remembers what it has released, however many batches come to nothing after it', () => {
    held(0, 1, 1);
    assert.equal(confirm(0, 1), true);
    for (let index = 1; index < 40; index++) {
      batches.admit(offer(index, 1));
      batches.fail(FAILURE);
    }
    for (let index = 40; index < 80; index++) held(index, 1, 1);
    assert.equal(confirm(0, 1), true, 'the initiator would drop what this end has given away');
  });

  it('remembers its last sixteen decisions, and takes what it does not know for dropped', () => {
    for (let index = 0; index < 17; index++) {
      held(index, 1, 1);
      assert.equal(confirm(index, 1), true);
      stream.buffer.take();
    }
    assert.deepEqual(
      [0, 1, 16, 99].map((index) => confirm(index, 1)),
      [false, true, true, false],
    );
  });

  it('takes no batch with its count changed on the way, though the tags are those of all of it', () => {
    const keys = held(0, 2, 5);
    const initiatorTags = Buffer.alloc(64, TAG);
    const { keyStreamId, incarnation } = offer(0, 2);
    const decision = batches.confirm({ keyStreamId, incarnation, firstIndex: 0, count: 1, initiatorTags });
    assert.equal(decision.released, false);
    assert.ok(keys.every((byte) => byte === 0));
  });

  it('refuses the public keys of one slot in the place of those of another of its size', () => {
    begin(['ML-KEM-768', 'ML-KEM-768'], false, 'hkdf-sha384');
    const pair = (slot: number) => ({ slot, publicKeys: Buffer.alloc(PUBLIC_KEY_BYTES) });
    const both = (...slots: number[]) => offer(0, 1, { publicKeys: slots.map(pair), qkd: undefined });
    for (const slots of [[1, 0], [0, 0], [0], [0, 1, 1]]) refuses(both(...slots), 'BAD_REQUEST');
    assert.equal(batches.admit(both(0, 1)), 1);
  });

  it('takes a stream whose method needs a stand-in with that one and no other', () => {
    const terms = withEnoughSecrets(
      readStreamTerms(`hybrid://app@${ALICE}`, `hybrid://app@${BOB}`, {
        method: 'xoring',
        keySources: ['QKD'],
      }),
      { mayDegrade: true },
    );
    stream = keyStream({ role: 'responder', terms, allowDegraded: true });
    batches = new HeldBatches(stream, clock);
    for (const degradedSlot of [0, 1, 3]) {
      refuses(offer(0, 1, { publicKeys: [], degradedSlot }), 'AGREEMENT_FAILED');
    }
    assert.equal(batches.admit(offer(0, 1, { publicKeys: [], degradedSlot: 2 })), 1);
  });
});
