import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ChunkBuffer } from './chunk-buffer.ts';

const meta = { nowMs: 5, degraded: false as const };
const keys = (...values: number[]) => Buffer.concat(values.map((value) => Buffer.alloc(4, value)));
const late = () => 'late';
const { signal } = new AbortController();

let clock: FakeClock;
let buffer: ChunkBuffer;

beforeEach(() => {
  clock = new FakeClock();
  buffer = new ChunkBuffer(clock);
});

describe('ChunkBuffer', () => {
  it('gives chunks in order, each once', () => {
    buffer.release(0, keys(1, 2, 3), 4, meta);
    assert.deepEqual([buffer.take()?.key.expose()[0], buffer.take()?.key.expose()[0]], [1, 2]);
    assert.equal(buffer.take(0), undefined);
    assert.equal(buffer.size, 1);
  });

  it('serves those who named an index before those who take the next', async () => {
    const next = buffer.wait(undefined, 1000, late, signal);
    const named = buffer.wait(0, 1000, late, signal);
    assert.equal(buffer.highestWanted, 0);
    buffer.release(0, keys(1, 2), 4, meta);
    assert.deepEqual([(await named).index, (await next).index], [0, 1]);
  });

  it('tells who waits for an index that was burned', async () => {
    const waiting = assert.rejects(buffer.wait(1, 1000, late, signal), (error) =>
      isReason(error, 'INSUFFICIENT_KEY'),
    );
    buffer.failGone(3);
    await waiting;
    assert.deepEqual([buffer.waiting, clock.pending], [0, 0]);
  });

  it('times out in the words it was given', async () => {
    const waiting = assert.rejects(buffer.wait(undefined, 1, late, signal), /TIMEOUT: late/);
    await clock.advance(1);
    await waiting;
  });

  it('takes nothing for a waiter that has gone, and leaves no trace of it', async () => {
    const leaving = new AbortController();
    const gone = [
      buffer.wait(undefined, 1000, late, leaving.signal),
      buffer.wait(1, 1000, late, leaving.signal),
    ];
    const staying = buffer.wait(undefined, 1000, late, signal);
    assert.deepEqual([buffer.waiting, buffer.highestWanted], [3, 1]);
    leaving.abort();
    for (const one of gone) await assert.rejects(one, /TIMEOUT: the application has gone away/);
    assert.deepEqual([buffer.waiting, buffer.highestWanted], [1, -1]);
    await assert.rejects(buffer.wait(undefined, 1000, late, leaving.signal), /gone away/);
    buffer.release(0, keys(1, 2), 4, meta);
    assert.deepEqual([(await staying).index, buffer.take()?.index], [0, 1]);
  });

  it('lets go of the signal of whoever was served', async () => {
    const { signal } = new AbortController();
    const waiting = Promise.allSettled([
      buffer.wait(undefined, 1000, late, signal),
      buffer.wait(undefined, 1, late, signal),
    ]);
    buffer.release(0, keys(1), 4, meta);
    await clock.advance(1);
    assert.deepEqual(
      (await waiting).map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    assert.deepEqual(getEventListeners(signal, 'abort'), []);
  });

  it('puts back in order what could not be delivered', () => {
    buffer.release(0, keys(1, 2, 3), 4, meta);
    const first = buffer.take();
    assert.ok(first);
    buffer.putBack(first);
    assert.deepEqual(
      [0, 1, 2].map(() => buffer.take()?.index),
      [0, 1, 2],
    );
  });

  it('fails everybody who waits, and wipes what is left', async () => {
    const waiting = buffer.wait(undefined, 1000, late, signal);
    buffer.failWaiters(new KeyweaveError('QKD_UNAVAILABLE', 'gone'));
    await assert.rejects(waiting, /gone/);
    buffer.release(0, keys(7), 4, meta);
    const key = buffer.peek()?.key.expose();
    buffer.wipe();
    assert.equal(buffer.size, 0);
    assert.ok(key?.every((byte) => byte === 0));
  });

  it('keeps who waits for an index that is still to come, and for the next one', async () => {
    const leaving = new AbortController();
    const waiting = [undefined, 3, 4].map((index) => buffer.wait(index, 10_000, late, leaving.signal));
    buffer.failGone(3);
    await Promise.resolve();
    assert.equal(buffer.waiting, 3);
    buffer.release(3, keys(1, 2, 3), 4, meta);
    const indexes = (await Promise.all(waiting)).map(({ index }) => index);
    assert.deepEqual(indexes, [5, 3, 4]);
  });

  it('keeps a chunk that is here for whoever waits for it, below the frontier or not', async () => {
    const waiting = buffer.wait(2, 10_000, late, signal);
    buffer.release(2, keys(1), 4, meta);
    buffer.failGone(3);
    assert.equal((await waiting).index, 2);
  });

  it('names the highest index that is wanted, in whatever order they came', async () => {
    const leaving = new AbortController();
    const waiting = [2, 7, undefined, 5].map((index) => buffer.wait(index, 10_000, late, leaving.signal));
    assert.equal(buffer.highestWanted, 7);
    leaving.abort();
    await Promise.allSettled(waiting);
  });

  it('shows the chunk that it would give, and leaves it', () => {
    buffer.release(0, keys(1, 2, 3), 4, meta);
    assert.deepEqual([buffer.peek()?.index, buffer.peek(2)?.index, buffer.peek(9)], [0, 2, undefined]);
    assert.equal(buffer.size, 3);
  });

  it('gives what is put back to who waits', async () => {
    buffer.release(0, keys(1), 4, meta);
    const chunk = buffer.take();
    const waiting = buffer.wait(undefined, 10_000, late, signal);
    assert.ok(chunk);
    buffer.putBack(chunk);
    assert.equal((await waiting).index, 0);
  });

  it('leaves no timer behind for whoever is served', async () => {
    const waiting = buffer.wait(undefined, 10_000, late, signal);
    assert.equal(clock.pending, 1);
    buffer.release(0, keys(1), 4, meta);
    await waiting;
    assert.equal(clock.pending, 0);
  });

  it('wipes those that are older, and leaves the others', () => {
    buffer.release(0, keys(1, 2), 4, { ...meta, nowMs: 10 });
    buffer.release(2, keys(3), 4, { ...meta, nowMs: 20 });
    const old = buffer.peek(1);
    buffer.wipeBefore(10);
    assert.equal(buffer.size, 3);
    buffer.wipeBefore(11);
    assert.deepEqual([buffer.size, old?.key.wiped, buffer.peek()?.index], [1, true, 2]);
    buffer.wipeBefore(100);
    assert.equal(buffer.size, 0);
  });
});
