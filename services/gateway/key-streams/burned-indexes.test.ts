import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { NodeServices } from '../sources/node-services.ts';
import type { Chunk } from './chunk-buffer.ts';
import { InitiatorSupply } from './initiator-supply.ts';
import { KeyStream, type StreamRole } from './key-stream.ts';
import { ResponderExchange } from './responder-exchange.ts';
import { parseStreamTerms } from './stream-terms.ts';

const PUBLIC_KEY_BYTES = 1184;
const services = {
  now: () => 0,
  log: silentLog,
  limits: { max_batch_chunks: 64 },
  qkd: { block_keys: 1, timeout: 1000, join: 'auto' },
} as unknown as NodeServices;

let stream: KeyStream;

function open(role: StreamRole): KeyStream {
  const opened = new KeyStream({
    id: '11111111-1111-4111-8111-111111111111',
    terms: parseStreamTerms(
      'hybrid://app@aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
      'hybrid://app@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
      { method: 'hkdf-sha384', keySources: ['ML-KEM-768', 'ML-KEM-768'] },
    ),
    role,
    peerNode: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
    qos: {
      ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 1000, ttlS: 0 },
      metadataMimetype: '',
    },
    predefined: false,
    allowDegraded: false,
    maxPrefetchChunks: 16,
    maxBufferedChunks: 16,
    now: () => 0,
  });
  opened.local = 'joined';
  opened.peer = 'joined';
  return opened;
}

const isReasonOf = (reason: ErrorReason) => (error: unknown) => isReason(error, reason);
const take = (index: number) => Promise.resolve(stream.take(index, 500, () => undefined));
const isGone = isReasonOf('INSUFFICIENT_KEY');
const failure = () => Promise.reject(new KeyweaveError('AGREEMENT_FAILED', 'the tags differ'));

describe('indexes at the initiator', () => {
  let supply: InitiatorSupply;
  let settled: () => Promise<void>;

  beforeEach(() => {
    stream = open('initiator');
    supply = new InitiatorSupply(services, stream, { enqueue: () => undefined });
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
    supply.answered(batch, 3);
    supply.end(batch, 3, failure());
    await settled();
    assert.equal(stream.buffer.nextIndex, 3);
    await assert.rejects(take(2), isGone);
    assert.equal(supply.begin(2).first, 3);
  });

  it('of a batch behind the one that failed stay its own', async () => {
    const first = supply.begin(2);
    supply.answered(first, 2);
    const second = supply.begin(2);
    supply.answered(second, 2);
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
  let exchange: ResponderExchange;

  beforeEach(() => {
    stream = open('responder');
    exchange = new ResponderExchange(services, stream);
  });

  const offer = (firstIndex: number, count: number) => ({
    keyStreamId: stream.idBytes,
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
    const { keyStreamId } = batch;
    const wrong = { keyStreamId, firstIndex: 0, count: 2, initiatorTags: Buffer.alloc(64, 2) };
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
      firstIndex: 0,
      count: 2,
      initiatorTags: Buffer.alloc(64, 1),
    };
    assert.equal(exchange.confirm(right).released, true);
    assert.deepEqual([stream.buffer.size, stream.buffer.nextIndex], [2, 4]);
  });
});
