import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import type { BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from '../sources/node-services.ts';
import { KeyStream } from './key-stream.ts';
import { ResponderExchange } from './responder-exchange.ts';
import { parseStreamTerms } from './stream-terms.ts';

const PUBLIC_KEY_BYTES = 1184;
const TAG = Buffer.alloc(32, 7);
const INCARNATION = Buffer.alloc(8, 1);

let stream: KeyStream;
let exchange: ResponderExchange;

beforeEach(() => {
  begin(['ML-KEM-768', 'QKD'], false);
});

function begin(keySources: readonly string[], allowDegraded: boolean, method = 'xoring'): void {
  stream = new KeyStream({
    id: '11111111-1111-4111-8111-111111111111',
    incarnation: INCARNATION,
    terms: parseStreamTerms(
      'hybrid://app@aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
      'hybrid://app@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
      { method, keySources },
    ),
    role: 'responder',
    peerNode: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
    qos: {
      ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 1000, ttlS: 0 },
      metadataMimetype: '',
    },
    predefined: false,
    allowDegraded,
    maxPrefetchChunks: 16,
    maxBufferedChunks: 16,
    now: () => 0,
  });
  exchange = new ResponderExchange({ now: () => 0 } as NodeServices, stream);
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
  exchange.admit(batch);
  const keys = Buffer.alloc(count * 32, value);
  exchange.hold(batch, { count, keys, initiatorTags: Buffer.alloc(count * 32, TAG) });
  return keys;
}

const confirm = (firstIndex: number, count: number, tag = TAG) =>
  exchange.confirm({
    keyStreamId: stream.idBytes,
    incarnation: INCARNATION,
    firstIndex,
    count,
    initiatorTags: Buffer.alloc(count * tag.length, tag),
  }).released;

const refuses = (batch: BatchOffer, reason: ErrorReason) =>
  assert.throws(
    () => exchange.admit(batch),
    (error) => isReason(error, reason),
    `${reason} expected`,
  );

describe('ResponderExchange', () => {
  it('releases nothing before the tags of the initiator, and all of the batch then', () => {
    held(0, 3, 1);
    assert.equal(stream.buffer.size, 0);
    assert.equal(exchange.coming, 3);
    assert.equal(confirm(0, 3), true);
    assert.equal(stream.buffer.size, 3);
    assert.equal(exchange.coming, 0);
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
        exchange.confirm({
          ...{ keyStreamId: stream.idBytes, incarnation: INCARNATION },
          ...{ firstIndex: first, count, initiatorTags: tags },
        }).released,
        false,
      );
      assert.ok(keys.every((byte) => byte === 0));
    }
    assert.equal(stream.buffer.size, 0);
    assert.equal(stream.buffer.nextIndex, 6, 'the indexes of dropped batches are burned');
  });

  it('never makes an index twice', () => {
    held(5, 2, 1);
    for (const first of [0, 5, 6]) refuses(offer(first, 1), 'AGREEMENT_FAILED');
    held(7, 1, 2);
  });

  it('makes one batch of a stream at a time', () => {
    exchange.admit(offer(0, 1));
    refuses(offer(1, 1), 'AGREEMENT_FAILED');
    exchange.fail();
    exchange.admit(offer(1, 1));
  });

  it('asks again for those who counted on a batch that failed', async () => {
    const wanted: number[] = [];
    stream.supply = {
      get coming() {
        return exchange.coming;
      },
      want: (count) => void wanted.push(count),
      stop: () => undefined,
    };
    exchange.admit(offer(0, 2));
    const waiting = stream.take(undefined, 50, () => undefined, new AbortController().signal);
    assert.deepEqual(wanted, [0], 'it is on its way');
    exchange.fail();
    assert.ok((wanted[1] ?? 0) > 0, `${wanted}`);
    await assert.rejects(waiting as Promise<unknown>);
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
        () => exchange.admit(offer(0, 1, change)),
        (error) => isReason(error, 'AGREEMENT_FAILED'),
        `${sources} with slot ${change.degradedSlot} replaced was taken`,
      );
    }
    begin(['ML-KEM-768', 'QKD'], true);
    assert.equal(exchange.admit(offer(0, 1, { degradedSlot: 2, qkd: undefined })), 1);
    begin(['QKD', 'ML-KEM-768'], true);
    assert.equal(exchange.admit(offer(0, 1, { degradedSlot: 1, publicKeys: [pair(1)], qkd: undefined })), 1);
  });

  it('takes no more than there is room for, what is unconfirmed counted', () => {
    assert.equal(exchange.admit(offer(0, 20)), 16);
    exchange.fail();
    held(20, 10, 1);
    assert.equal(exchange.admit(offer(30, 10)), 6);
    exchange.fail();
    held(40, 6, 2);
    refuses(offer(46, 1), 'NO_ROOM');
  });

  it('wipes what is unconfirmed at its end, and takes nothing after it', () => {
    const keys = held(0, 2, 1);
    const batch = offer(2, 1);
    exchange.admit(batch);
    exchange.stop();
    assert.ok(keys.every((byte) => byte === 0));
    const late = Buffer.alloc(32, 9);
    assert.throws(() => exchange.hold(batch, { count: 1, keys: late, initiatorTags: TAG }), /UNKNOWN_STREAM/);
    assert.ok(late.every((byte) => byte === 0));
    refuses(offer(3, 1), 'UNKNOWN_STREAM');
  });
});
