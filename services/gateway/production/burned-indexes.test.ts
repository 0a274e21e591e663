import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ProducerBench } from '#test/helpers/producer-bench.ts';
import { answerOf, keyStream, LIVING, termsOf } from '#test/helpers/streams.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { InitiatorProducer } from './initiator/initiator-producer.ts';
import { HeldBatches } from './responder/held-batches.ts';

const PUBLIC_KEY_BYTES = 1184;
const SOURCES = ['ML-KEM-768', 'ML-KEM-768'];
const FAILURE = new KeyweaveError('QKD_UNAVAILABLE', 'as the test says');

let stream: KeyStream;

const isReasonOf = (reason: ErrorReason) => (error: unknown) => isReason(error, reason);
const take = async (index: number) => stream.take(index, 500, () => undefined, LIVING);
const isGone = isReasonOf('INSUFFICIENT_KEY');
const failure = () => Promise.reject(new KeyweaveError('AGREEMENT_FAILED', 'the tags differ'));

describe('indexes at the initiator', () => {
  let producer: InitiatorProducer;
  let settled: () => Promise<void>;

  beforeEach(() => {
    const bench = new ProducerBench(SOURCES, { maxBatchChunks: 64 });
    bench.held = true;
    stream = bench.stream;
    producer = bench.producer;
    settled = () => bench.settle();
  });
  afterEach(() => producer.stop());

  it('of a batch that failed at once are burned: who waits for one is told, and no batch has it again', async () => {
    const waiting = assert.rejects(take(2), isGone);
    const batch = producer.begin(4);
    producer.end(batch, 0, failure());
    await settled();
    await waiting;
    await assert.rejects(take(0), isGone);
    assert.equal(stream.indexes.frontier, 4);
    assert.equal(producer.begin(2).first, 4);
  });

  it('of a batch that both ends had made are burned as far as it was made', async () => {
    const batch = producer.begin(4);
    producer.answered(batch, answerOf(3));
    producer.end(batch, 3, failure());
    await settled();
    assert.equal(stream.indexes.frontier, 3);
    await assert.rejects(take(2), isGone);
    assert.equal(producer.begin(2).first, 3);
  });

  it('of a batch behind the one that failed stay its own', async () => {
    const first = producer.begin(2);
    producer.answered(first, answerOf(2));
    const second = producer.begin(2);
    producer.answered(second, answerOf(2));
    const waiting = [0, 2].map(take);
    producer.end(first, 2, failure());
    producer.end(second, 2, Promise.resolve(Buffer.from(new Uint8Array(64).fill(7))));
    await assert.rejects(waiting[0] as Promise<unknown>, isGone);
    assert.equal((await waiting[1])?.index, 2);
    await settled();
    assert.equal(stream.indexes.frontier, 4);
  });
});

describe('indexes at the responder', () => {
  let exchange: HeldBatches;

  beforeEach(() => {
    stream = keyStream({ role: 'responder', terms: termsOf('hkdf-sha384', SOURCES), peer: 'joined' });
    exchange = new HeldBatches(stream, new FakeClock());
  });

  const offer = (firstIndex: number, count: number) => ({
    keyStreamId: stream.idBytes,
    incarnation: stream.incarnation,
    firstIndex,
    count,
    publicKeys: [0, 1].map((slot) => ({ slot, publicKeys: Buffer.alloc(count * PUBLIC_KEY_BYTES) })),
    qkd: undefined,
    degradedSlot: 0,
  });

  it('of a batch that could not be made are burned', async () => {
    const waiting = assert.rejects(take(1), isGone);
    exchange.admit(offer(0, 3));
    exchange.fail(FAILURE);
    await waiting;
    assert.equal(stream.indexes.frontier, 3);
    assert.throws(() => exchange.admit(offer(2, 1)), isReasonOf('AGREEMENT_FAILED'));
  });

  it('of a batch whose tags were wrong are burned', async () => {
    const waiting = assert.rejects(take(1), isGone);
    const batch = offer(0, 2);
    exchange.admit(batch);
    exchange.hold(batch, { count: 2, keys: Buffer.alloc(64, 1), initiatorTags: Buffer.alloc(64, 1) });
    const { keyStreamId, incarnation } = batch;
    const wrong = { keyStreamId, incarnation, firstIndex: 0, count: 2, initiatorTags: Buffer.alloc(64, 2) };
    assert.equal(exchange.confirm(wrong).released, false);
    await waiting;
    assert.equal(stream.indexes.frontier, 2);
  });

  it('that an earlier batch still holds are not burned by the failure of a later one', () => {
    const first = offer(0, 2);
    exchange.admit(first);
    exchange.hold(first, { count: 2, keys: Buffer.alloc(64, 1), initiatorTags: Buffer.alloc(64, 1) });
    exchange.admit(offer(2, 2));
    exchange.fail(FAILURE);
    assert.equal(stream.indexes.frontier, 0);
    const right = {
      keyStreamId: first.keyStreamId,
      incarnation: first.incarnation,
      firstIndex: 0,
      count: 2,
      initiatorTags: Buffer.alloc(64, 1),
    };
    assert.equal(exchange.confirm(right).released, true);
    assert.deepEqual([stream.buffer.size, stream.indexes.frontier], [2, 4]);
  });
});
