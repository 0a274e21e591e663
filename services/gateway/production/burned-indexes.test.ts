import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { answerOf, keyStream, LIVING, termsOf } from '#test/helpers/streams.ts';
import type { NodeServices } from '../clients/node-services.ts';
import type { Chunk } from '../streams/chunk-buffer.ts';
import type { KeyStream, StreamRole } from '../streams/key-stream.ts';
import { InitiatorProducer } from './initiator/initiator-producer.ts';
import { HeldBatches } from './responder/held-batches.ts';
import { SourceFaults } from './source-faults.ts';

const PUBLIC_KEY_BYTES = 1184;
const services = {
  now: () => 0,
  log: silentLog,
  sourceFaults: new SourceFaults(silentLog),
  limits: { max_batch_chunks: 64 },
  qkd: { block_keys: 1, timeout: 1000, join: 'auto' },
} as unknown as NodeServices;

let stream: KeyStream;

function open(role: StreamRole): KeyStream {
  const terms = termsOf('hkdf-sha384', ['ML-KEM-768', 'ML-KEM-768']);
  const opened = keyStream({ role, terms });
  opened.local = 'joined';
  opened.peer = 'joined';
  return opened;
}

const isReasonOf = (reason: ErrorReason) => (error: unknown) => isReason(error, reason);
const take = (index: number) => Promise.resolve(stream.take(index, 500, () => undefined, LIVING));
const isGone = isReasonOf('INSUFFICIENT_KEY');
const failure = () => Promise.reject(new KeyweaveError('AGREEMENT_FAILED', 'the tags differ'));

describe('indexes at the initiator', () => {
  let supply: InitiatorProducer;
  let settled: () => Promise<void>;

  beforeEach(() => {
    stream = open('initiator');
    supply = new InitiatorProducer(services, stream, { enqueue: () => undefined });
    settled = () => supply.settled(1_000);
  });
  afterEach(() => supply.stop());

  it('of a batch that failed at once are burned: who waits for one is told, and no batch has it again', async () => {
    const waiting = assert.rejects(take(2), isGone);
    const batch = supply.begin(4);
    supply.end(batch, 0, failure());
    await settled();
    await waiting;
    await assert.rejects(take(0), isGone);
    assert.equal(stream.buffer.nextIndex, 4);
    assert.equal(supply.begin(2).first, 4);
  });

  it('of a batch that both ends had made are burned as far as it was made', async () => {
    const batch = supply.begin(4);
    supply.answered(batch, answerOf(3));
    supply.end(batch, 3, failure());
    await settled();
    assert.equal(stream.buffer.nextIndex, 3);
    await assert.rejects(take(2), isGone);
    assert.equal(supply.begin(2).first, 3);
  });

  it('of a batch behind the one that failed stay its own', async () => {
    const first = supply.begin(2);
    supply.answered(first, answerOf(2));
    const second = supply.begin(2);
    supply.answered(second, answerOf(2));
    const waiting = [0, 2].map(take);
    supply.end(first, 2, failure());
    supply.end(second, 2, Promise.resolve(Buffer.from(new Uint8Array(64).fill(7))));
    await assert.rejects(waiting[0] as Promise<Chunk>, isGone);
    assert.equal((await waiting[1])?.index, 2);
    await settled();
    assert.equal(stream.buffer.nextIndex, 4);
  });
});

describe('indexes at the responder', () => {
  let exchange: HeldBatches;

  beforeEach(() => {
    stream = open('responder');
    exchange = new HeldBatches(services, stream);
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
    exchange.fail();
    await waiting;
    assert.equal(stream.buffer.nextIndex, 3);
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
    assert.equal(stream.buffer.nextIndex, 2);
  });

  it('that an earlier batch still holds are not burned by the failure of a later one', () => {
    const first = offer(0, 2);
    exchange.admit(first);
    exchange.hold(first, { count: 2, keys: Buffer.alloc(64, 1), initiatorTags: Buffer.alloc(64, 1) });
    exchange.admit(offer(2, 2));
    exchange.fail();
    assert.equal(stream.buffer.nextIndex, 0);
    const right = {
      keyStreamId: first.keyStreamId,
      incarnation: first.incarnation,
      firstIndex: 0,
      count: 2,
      initiatorTags: Buffer.alloc(64, 1),
    };
    assert.equal(exchange.confirm(right).released, true);
    assert.deepEqual([stream.buffer.size, stream.buffer.nextIndex], [2, 4]);
  });
});
