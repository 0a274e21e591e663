import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type IdleProducer, keyStream, LIVING } from '#test/helpers/streams.ts';
import type { Chunk } from './chunk-buffer.ts';
import type { KeyStream } from './key-stream.ts';

const TIMEOUT_MS = 60_000;
const closed = new KeyweaveError('UNKNOWN_STREAM', 'the application has closed it');
const isClosed = (error: unknown) => error === closed;
const anything = () => undefined;

let stream: KeyStream<IdleProducer>;

function open(qos: { maxBps?: number } = {}): KeyStream<IdleProducer> {
  const opened = keyStream<IdleProducer>({ qos: { timeoutMs: TIMEOUT_MS, ...qos }, peer: 'joined' });
  opened.join({ identity: undefined, address: '127.0.0.1' });
  return opened;
}

beforeEach(() => {
  stream = open();
});

/** Confirms `count` keys from index `first` on; gives the memory that they lie in. */
function confirm(first: number, count: number): Buffer {
  const keys = Buffer.from(new Uint8Array(count * 32).fill(0xee));
  stream.indexes.claim(first, count);
  stream.release(first, keys, false);
  return keys;
}

const isZero = (bytes: Buffer) => bytes.every((byte) => byte === 0);
const taken = (index?: number) => stream.take(index, TIMEOUT_MS, anything, LIVING) as Chunk;

describe('the end of a stream', () => {
  it('wipes every key that was not read, and none that was', () => {
    const keys = confirm(0, 4);
    const read = taken();
    stream.end(closed);
    assert.ok(isZero(keys.subarray(32)), 'an unread key outlived the stream');
    assert.ok(!isZero(read.key.expose()), 'a key that its reader still holds was wiped');
    assert.equal(stream.buffer.size, 0);
  });

  it('leaves no key to whoever still holds the stream', () => {
    confirm(0, 4);
    stream.end(closed);
    for (const index of [undefined, 0, 3, 9]) assert.throws(() => taken(index), isClosed, `index ${index}`);
  });

  it('wipes keys that are confirmed after it, instead of keeping them', () => {
    stream.end(closed);
    const late = confirm(0, 2);
    assert.ok(isZero(late));
    assert.equal(stream.buffer.size, 0);
    assert.throws(() => taken(), isClosed);
  });

  it('fails those who wait, with its reason', async () => {
    const waiting = [undefined, 3].map((index) => stream.take(index, TIMEOUT_MS, anything, LIVING));
    stream.end(closed);
    for (const each of waiting) await assert.rejects(Promise.resolve(each), isClosed);
  });

  it('fails a GET_KEY that max_bps holds back, though its key was there', async () => {
    // 20 keys a second, of which a second's worth may be taken at once.
    stream = open({ maxBps: 20 * 256 });
    confirm(0, 21);
    for (let i = 0; i < 20; i++) taken();
    const delayed = stream.take(undefined, TIMEOUT_MS, anything, LIVING);
    assert.ok(delayed instanceof Promise);
    stream.end(closed);
    await assert.rejects(delayed, isClosed);
  });

  it('stops production, once, and keeps its first reason', () => {
    stream.end(closed);
    stream.end(new KeyweaveError('TIMEOUT', 'another'));
    assert.equal(stream.producer.stopped, 1);
    assert.deepEqual([stream.ended, stream.local], [true, 'closed']);
    assert.throws(() => taken(), isClosed);
  });

  it('asks for nothing more', () => {
    stream.end(closed);
    stream.refill();
    assert.deepEqual(stream.producer.wanted, []);
  });
});

describe('the end of the other end', () => {
  const isAbsent = (error: unknown) => isReason(error, 'PEER_APPLICATION_ABSENT');

  it('leaves what is confirmed to be read, and nothing after it', () => {
    confirm(0, 2);
    stream.peerClosed('the other end has gone');
    assert.deepEqual([taken().index, taken().index], [0, 1]);
    for (const index of [undefined, 0, 2]) assert.throws(() => taken(index), isAbsent, `index ${index}`);
    assert.equal(stream.producer.stopped, 1);
  });

  it('fails those who wait, and is told once', async () => {
    const waiting = Promise.resolve(stream.take(undefined, TIMEOUT_MS, anything, LIVING));
    stream.peerClosed('gone');
    stream.peerClosed('gone again');
    await assert.rejects(waiting, isAbsent);
    assert.equal(stream.producer.stopped, 1);
  });

  it('does not spare the unread keys when this end closes, too', () => {
    const keys = confirm(0, 2);
    stream.peerClosed('gone');
    stream.end(closed);
    assert.ok(isZero(keys));
  });
});
