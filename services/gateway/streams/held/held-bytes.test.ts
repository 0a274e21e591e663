import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ksidOf } from '#test/helpers/openings.ts';
import { IdleProducer, keyStream, LIVING, qkdReference } from '#test/helpers/streams.ts';
import { HeldBatches } from '../../production/responder/held-batches.ts';
import { HeldBytes } from './held-bytes.ts';

let held: HeldBytes;
let made = 0;

beforeEach(() => {
  held = new HeldBytes(320);
});

/** One of the streams with Alice that share `held`: the responder's end, with 32-byte chunks unless said otherwise. */
function responder(keyChunkSize = 32, maxBufferedBytes = 1_048_576) {
  made += 1;
  const clock = new FakeClock();
  const producer = new IdleProducer('responder');
  const stream = keyStream({
    id: ksidOf(made).text,
    role: 'responder',
    qos: { keyChunkSize },
    maxPrefetchChunks: 512,
    maxBufferedChunks: 1024,
    maxBufferedBytes,
    held,
    clock,
    producer: () => producer,
  });
  const batches = new HeldBatches(stream, clock);
  Object.defineProperty(producer, 'coming', { get: () => batches.coming });
  return { stream, batches, next: 0 };
}

type Responder = ReturnType<typeof responder>;

function offerOf({ stream, next }: Responder, count: number) {
  return {
    keyStreamId: stream.idBytes,
    incarnation: stream.incarnation,
    firstIndex: next,
    count,
    publicKeys: [{ slot: 0, publicKeys: Buffer.alloc(count * 1184) }],
    qkd: qkdReference(),
    degradedSlot: 0,
  };
}

/** Has the peer fill the stream with up to `count` chunks; how many it took. */
function fill(end: Responder, count: number, confirmed: boolean): number {
  const offer = offerOf(end, count);
  const taken = end.batches.admit(offer);
  const tags = Buffer.alloc(taken * 32, 7);
  const keys = Buffer.alloc(taken * end.stream.qos.keyChunkSize, 9);
  end.batches.hold(offer, { count: taken, keys, initiatorTags: tags });
  end.next += taken;
  if (confirmed) end.batches.confirm({ ...offer, count: taken, initiatorTags: tags });
  return taken;
}

const refused = (error: unknown) =>
  isReason(error, 'NO_ROOM') && /limit of 320 bytes .* \(limits.max_held_bytes_per_peer\)/.test(`${error}`);

describe('what is held for a peer', () => {
  it('counts unread and unconfirmed chunks of all its streams, and admits no more than its share', () => {
    const [one, other] = [responder(), responder(16)];
    assert.equal(fill(one, 6, true), 6);
    assert.equal(held.bytes, 192);
    assert.equal(fill(other, 100, false), 8, 'the rest of the share');
    assert.equal(held.bytes, 320);
    assert.throws(() => fill(one, 1, true), refused);
    assert.throws(() => fill(other, 1, true), refused);
  });

  it('leaves no room, and no debt, once it is more than the share', () => {
    held.change(100);
    assert.equal(held.room, 220);
    held.change(221);
    assert.deepEqual([held.bytes, held.room], [321, 0]);
  });

  it('counts a batch from the moment that it is admitted, and no longer when it fails', () => {
    const [one, other] = [responder(), responder()];
    assert.equal(one.batches.admit(offerOf(one, 10)), 10);
    assert.throws(() => fill(other, 1, true), refused);
    one.batches.fail(new KeyweaveError('QKD_UNAVAILABLE', 'as the test says'));
    assert.equal(held.bytes, 0);
    assert.equal(fill(other, 1, true), 1);
  });

  it('gets room again as keys are read, dropped, or go with their stream', () => {
    const [one, other] = [responder(), responder()];
    fill(one, 10, true);
    const chunk = one.stream.take(undefined, 1000, () => undefined, LIVING);
    assert.ok(!(chunk instanceof Promise));
    assert.equal(held.bytes, 288);
    assert.equal(fill(other, 1, false), 1);
    assert.equal(held.bytes, 320);
    other.batches.stop();
    assert.equal(held.bytes, 288);
    one.stream.peerClosed('closed');
    one.stream.take(undefined, 1000, () => undefined, LIVING);
    assert.equal(held.bytes, 256, 'a key that is read after the peer has closed counts on');
    other.stream.end(refusedStream());
    one.stream.end(refusedStream());
    one.stream.end(refusedStream());
    assert.equal(held.bytes, 0);
  });

  it('never keeps a key from an application that waits for it', async () => {
    const [one, other] = [responder(), responder()];
    fill(one, 10, true);
    const waiting = other.stream.take(undefined, 1000, () => undefined, LIVING);
    assert.equal(fill(other, 5, true), 1);
    assert.throws(() => fill(other, 1, true), refused);
    assert.equal((await waiting).index, 0);
  });

  it('is bounded for each stream too, by bytes and not only by chunks', () => {
    held = new HeldBytes(Number.POSITIVE_INFINITY);
    const large = responder(12_240);
    assert.equal(large.stream.maxBufferedChunks, 85);
    assert.equal(fill(large, 86, true), 85);
    assert.equal(responder(65_536, 1_024).stream.maxBufferedChunks, 1);
    assert.equal(responder(32).stream.maxBufferedChunks, 1024);
  });
});

function refusedStream() {
  return Object.assign(new Error('ended')) as never;
}
