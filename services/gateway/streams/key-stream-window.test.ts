import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import {
  ALICE,
  BOB,
  IdleProducer,
  keyStream,
  LIVING,
  QOS,
  type StreamChange,
} from '#test/helpers/streams.ts';
import type { Chunk } from './chunk-buffer.ts';
import { HeldBytes } from './held/held-bytes.ts';
import type { KeyStream } from './key-stream.ts';
import type { StreamRole } from './producer.ts';

const TIMEOUT_MS = 60_000;

let clock: FakeClock;
let producer: IdleProducer;

beforeEach(() => {
  clock = new FakeClock();
  producer = new IdleProducer();
});

const open = (change: StreamChange = {}): KeyStream =>
  keyStream({ clock, producer: () => producer, ...change });

const release = (stream: KeyStream, first: number, count: number) => {
  stream.indexes.claim(first, count);
  stream.release(first, Buffer.alloc(count * stream.qos.keyChunkSize, 9), false);
};
const get = (stream: KeyStream, index?: number, timeoutMs = TIMEOUT_MS) =>
  stream.take(index, timeoutMs, () => undefined, LIVING);
const waits = (stream: KeyStream, index?: number) =>
  void Promise.resolve(get(stream, index)).catch(() => undefined);
const last = () => producer.wanted.at(-1);
const over = new KeyweaveError('UNKNOWN_STREAM', 'the test is over');
const refused = (reason: ErrorReason, words: RegExp) => (error: unknown) =>
  isReason(error, reason) && words.test(String(error));

describe('KeyStream', () => {
  it('is what its options say, of nobody yet', () => {
    const id = '12345678-9abc-4def-8123-456789abcdef';
    const stream = keyStream({ id, role: 'responder', predefined: true });
    const { idBytes, incarnation, role, route, predefined, local, peer } = stream;
    assert.deepEqual([stream.id, idBytes.toString('hex')], [id, id.replaceAll('-', '')]);
    assert.deepEqual(
      [incarnation, role, route, predefined, local, peer],
      [
        Buffer.alloc(8, 1),
        'responder',
        { nextHop: ALICE, farNode: ALICE, hops: 0 },
        true,
        'absent',
        'absent',
      ],
    );
    const { source, destination } = stream.terms;
    assert.deepEqual(
      [
        stream.isPair(source, destination),
        stream.isPair(source, source),
        stream.isPair(destination, destination),
        stream.isPair(destination, source),
      ],
      [true, false, false, false],
    );
    assert.deepEqual(keyStream().route, { nextHop: BOB, farNode: BOB, hops: 0 });
  });

  it('has room beyond the peer’s limit for a chunk that is waited for, not for those before an index far ahead', () => {
    const held = new HeldBytes(4 * QOS.keyChunkSize);
    const stream = open({ held, peer: 'joined' });
    release(stream, 0, 4);
    stream.countHeld();
    assert.equal(stream.peerRoom, 0);
    waits(stream, 9);
    assert.equal(stream.peerRoom, 0, 'index 9 comes after five that nobody waits for');
    waits(stream, 4);
    assert.equal(stream.peerRoom, 1);
    for (let i = 0; i < 4; i++) void get(stream);
    waits(stream);
    assert.equal(stream.peerRoom, 4 + 3, 'room for four, the one that waits for any, and indexes 4 and 9');
    producer.coming = 2;
    assert.equal(stream.peerRoom, 4 + 1, 'two of those that wait get what is coming');
    producer.coming = 0;
    stream.end(over);
  });

  it('measures the age of a key in whole milliseconds since it was confirmed', async () => {
    const stream = open();
    await clock.advance(1_000);
    release(stream, 0, 1);
    await clock.advance(7.9);
    assert.equal(stream.ageMs(get(stream) as Chunk), 7);
  });

  it('takes over the QoS that was agreed: its window and its rate', () => {
    const stream = open({ maxBufferedBytes: 320 });
    assert.equal(stream.maxBufferedChunks, 10);
    stream.agree({ ...QOS, keyChunkSize: 64 }, false);
    assert.deepEqual([stream.maxBufferedChunks, stream.qos.keyChunkSize], [5, 64]);
    release(stream, 0, 5);
    stream.agree({ ...stream.qos, maxBps: 512 }, false);
    get(stream);
    assert.throws(() => get(stream, undefined, 999), refused('INSUFFICIENT_KEY', /max_bps 512 .* 1000 ms/));
    stream.agree({ ...stream.qos, timeoutMs: 5 }, false);
    assert.throws(() => get(stream, undefined, 999), /max_bps/, 'another timeout is no new second of keys');
    stream.agree({ ...stream.qos, keyChunkSize: 32 }, false);
    assert.equal((get(stream, undefined, 0) as Chunk).index, 1);
  });
});

describe('what a stream asks for', () => {
  const fill = async (role: StreamRole, buffered: number) => {
    const stream = open({ role, maxPrefetchChunks: 4 });
    release(stream, 0, 64);
    for (let i = 0; i < 40; i++) {
      get(stream);
      await clock.advance(1);
    }
    stream.buffer.wipe();
    release(stream, 64, buffered);
    stream.refill();
    return last();
  };

  it('is the rest of its depth: an initiator of half of it, a responder of a quarter', async () => {
    assert.deepEqual([await fill('initiator', 3), await fill('initiator', 2)], [0, 2]);
    assert.deepEqual([await fill('responder', 2), await fill('responder', 1)], [0, 3]);
  });

  it('reaches as far as the index that somebody waits for', () => {
    const stream = open();
    release(stream, 0, 2);
    waits(stream, 5);
    assert.equal(last(), 4);
    producer.coming = 3;
    stream.refill();
    assert.equal(last(), 1);
    waits(stream, 2);
    producer.coming = 0;
    stream.refill();
    assert.equal(last(), 4);
    stream.end(over);
  });

  it('is enough for an index that is the very next', () => {
    const stream = open({ maxPrefetchChunks: 0 });
    release(stream, 0, 3);
    waits(stream, 3);
    assert.equal(last(), 1);
    stream.end(over);
  });

  it('is as many as whoever waits takes at a time, and less again once nobody does', () => {
    const stream = open({ maxPrefetchChunks: 0, maxBufferedChunks: 40 });
    const taken = stream.take(undefined, TIMEOUT_MS, () => undefined, LIVING, 31);
    void Promise.resolve(taken).catch(() => undefined);
    assert.equal(last(), 32);
    waits(stream);
    assert.equal(last(), 33);
    void Promise.resolve(stream.take(undefined, TIMEOUT_MS, () => undefined, LIVING, 31)).catch(
      () => undefined,
    );
    assert.equal(last(), 43, 'no more than there is room for');
    release(stream, 0, 3);
    stream.buffer.wipe();
    stream.refill();
    assert.equal(last(), 0);
    stream.end(over);
  });

  it('is no more than there is room for beside those who wait', () => {
    // Until its peer has come, a responder waits for any index.
    const stream = open({ role: 'responder', maxBufferedChunks: 4 });
    release(stream, 0, 3);
    waits(stream, 20);
    assert.equal(last(), 2);
    producer.coming = 2;
    stream.refill();
    assert.equal(last(), 0);
    stream.end(over);
  });

  it('is nothing once the other end has closed', () => {
    const stream = open();
    release(stream, 0, 2);
    stream.peerClosed('gone');
    get(stream);
    assert.deepEqual(producer.wanted, []);
  });
});

describe('what a stream refuses', () => {
  it('is an index beyond its window, in words', () => {
    const stream = open({ maxBufferedChunks: 4, peer: 'joined' });
    release(stream, 0, 1);
    assert.throws(() => get(stream, 4), refused('INSUFFICIENT_KEY', /index 4 .* ends at 3$/));
    waits(stream, 3);
    waits(stream);
    stream.end(over);
  });

  it('is an index that was burned, whoever waits for it already or asks for it now', async () => {
    const stream = open();
    stream.indexes.claim(0, 3);
    const waiting = assert.rejects(Promise.resolve(get(stream, 1)), refused('INSUFFICIENT_KEY', /index 1 /));
    stream.drop(0, 3, new KeyweaveError('QKD_UNAVAILABLE', 'no link'));
    await waiting;
    assert.throws(
      () => get(stream, 2),
      refused('INSUFFICIENT_KEY', /index 2 has been taken, or was dropped/),
    );
    assert.equal(stream.indexes.frontier, 3);
    waits(stream, 3);
    stream.end(over);
  });

  it('is an index that a release has skipped', async () => {
    const stream = open();
    const skipped = assert.rejects(Promise.resolve(get(stream, 1)), /index 1/);
    release(stream, 2, 1);
    await skipped;
    assert.deepEqual([stream.indexes.frontier, stream.buffer.size], [3, 1]);
  });

  it('is an index that has been taken, at once', () => {
    const stream = open();
    release(stream, 0, 2);
    get(stream, 0);
    assert.throws(() => get(stream, 0), refused('INSUFFICIENT_KEY', /index 0/));
    assert.equal((get(stream, 1) as Chunk).index, 1);
  });

  it('is no index that the other end may still release, though later ones are burned', async () => {
    const stream = open({ role: 'responder', peer: 'joined' });
    stream.indexes.claim(0, 2);
    stream.indexes.claim(2, 2);
    const [open0, burned3] = [get(stream, 0), get(stream, 3)];
    const burned = assert.rejects(Promise.resolve(burned3), /index 3/);
    stream.drop(2, 2, new KeyweaveError('QKD_UNAVAILABLE', 'no link'));
    await clock.settle();
    assert.equal(stream.buffer.waiting, 2);
    stream.release(0, Buffer.alloc(64, 9), false);
    assert.equal((await open0).index, 0);
    await burned;
  });

  it('is nothing of the kind at a responder whose peer has yet to come', () => {
    for (const [role, peer, isRefused] of [
      ['responder', 'absent', false],
      ['responder', 'joined', true],
      ['initiator', 'absent', true],
    ] as const) {
      const stream = open({ role, maxBufferedChunks: 4 });
      if (peer === 'joined') stream.peerJoined();
      assert.equal(stream.peer, peer);
      if (isRefused) assert.throws(() => get(stream, 9), /beyond the window/);
      else waits(stream, 9);
      stream.end(over);
    }
  });

  it('is a key that nobody can make any more, with the reason of the other end', () => {
    const stream = open();
    stream.peerClosed('its node has restarted');
    assert.throws(() => get(stream), refused('PEER_APPLICATION_ABSENT', /its node has restarted; every/));
  });
});

describe('what a stream says to those who wait', () => {
  const waiting = async (before: (stream: KeyStream) => void, during: (stream: KeyStream) => void) => {
    const stream = open();
    before(stream);
    const outcome = Promise.resolve(get(stream, undefined, 5)).then(String, String);
    during(stream);
    await clock.advance(5);
    return outcome;
  };
  const nothing = () => undefined;

  it('is why production failed, at once', async () => {
    const failure = new KeyweaveError('QKD_UNAVAILABLE', 'no link');
    assert.match(await waiting(nothing, (stream) => stream.failWaiters(failure)), /QKD_UNAVAILABLE: no link/);
  });

  it('is what failed last, when the time has run out', async () => {
    const fails = (stream: KeyStream) => stream.failWaiters(new KeyweaveError('QKD_UNAVAILABLE', 'no link'));
    assert.match(await waiting(fails, nothing), /TIMEOUT: .* in time; last failure: no link$/);
    assert.match(await waiting(nothing, nothing), /TIMEOUT: .* in time$/);
    const passed = (stream: KeyStream) => {
      fails(stream);
      release(stream, 0, 1);
      stream.buffer.take();
    };
    assert.match(await waiting(passed, nothing), /in time$/);
  });

  it('is that the other end was full, where it was, and no other failure in its place', async () => {
    const full = (stream: KeyStream) => {
      stream.noteFailure(new KeyweaveError('NO_ROOM', 'it holds 16'));
    };
    assert.match(await waiting(full, nothing), /NO_ROOM: it holds 16/);
    assert.match(await waiting(full, (stream) => stream.end(over)), /the test is over/);
  });
});

describe('max_bps', () => {
  const slow = () => {
    const stream = open({ qos: { maxBps: 256 } });
    release(stream, 0, 3);
    return stream;
  };

  it('gives its turn back to whoever gets no key after all', async () => {
    const stream = slow();
    const leaves = () => {
      throw new KeyweaveError('METADATA_TOO_SMALL', 'no room');
    };
    assert.throws(() => stream.take(undefined, 0, leaves, LIVING), /METADATA_TOO_SMALL/);
    assert.equal((get(stream, undefined, 0) as Chunk).index, 0);
    await clock.advance(10_000);
    const late = assert.rejects(Promise.resolve(get(stream, 9, 1)), /TIMEOUT/);
    await clock.advance(1);
    await late;
    assert.equal((get(stream, undefined, 0) as Chunk).index, 1);
  });

  it('ends every GET_KEY that it holds back with the stream', async () => {
    const stream = slow();
    get(stream);
    const held = [1, 2].map(() => Promise.resolve(get(stream)));
    stream.end(over);
    for (const one of held) await assert.rejects(one, (error) => error === over);
  });
});
