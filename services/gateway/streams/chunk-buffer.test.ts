import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ChunkBuffer } from './chunk-buffer.ts';

const meta = { nowMs: 5, degraded: false };
const keys = (...values: number[]) => Buffer.concat(values.map((value) => Buffer.alloc(4, value)));
const late = () => 'late';
const { signal } = new AbortController();

describe('ChunkBuffer', () => {
  it('gives chunks in order, each once', () => {
    const buffer = new ChunkBuffer();
    buffer.release(0, keys(1, 2, 3), 4, meta);
    assert.deepEqual([buffer.take()?.key.expose()[0], buffer.take()?.key.expose()[0]], [1, 2]);
    assert.equal(buffer.take(0), undefined);
    assert.equal(buffer.size, 1);
  });

  it('serves those who named an index before those who take the next', async () => {
    const buffer = new ChunkBuffer();
    const next = buffer.wait(undefined, 1000, late, signal);
    const named = buffer.wait(0, 1000, late, signal);
    assert.equal(buffer.highestWanted, 0);
    buffer.release(0, keys(1, 2), 4, meta);
    assert.deepEqual([(await named).index, (await next).index], [0, 1]);
  });

  it('refuses an index that was burned, waiting or not', async () => {
    const buffer = new ChunkBuffer();
    const waiting = assert.rejects(buffer.wait(1, 1000, late, signal), (error) =>
      isReason(error, 'INSUFFICIENT_KEY'),
    );
    buffer.burnBelow(3);
    await waiting;
    await assert.rejects(buffer.wait(2, 1000, late, signal), /index 2/);
    assert.equal(buffer.nextIndex, 3);
    buffer.burnBelow(1);
    assert.equal(buffer.nextIndex, 3, 'an index was used again');
  });

  it('times out in the words it was given', async () => {
    await assert.rejects(new ChunkBuffer().wait(undefined, 1, late, signal), /TIMEOUT: late/);
  });

  it('takes nothing for a waiter that has gone, and leaves no trace of it', async () => {
    const buffer = new ChunkBuffer();
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
    const buffer = new ChunkBuffer();
    const { signal } = new AbortController();
    const waiting = Promise.allSettled([
      buffer.wait(undefined, 1000, late, signal),
      buffer.wait(undefined, 1, late, signal),
    ]);
    buffer.release(0, keys(1), 4, meta);
    assert.deepEqual(
      (await waiting).map(({ status }) => status),
      ['fulfilled', 'rejected'],
    );
    assert.deepEqual(getEventListeners(signal, 'abort'), []);
  });

  it('puts back in order what could not be delivered', () => {
    const buffer = new ChunkBuffer();
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
    const buffer = new ChunkBuffer();
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
    const buffer = new ChunkBuffer();
    const leaving = new AbortController();
    const waiting = [undefined, 3, 4].map((index) => buffer.wait(index, 10_000, late, leaving.signal));
    buffer.burnBelow(3);
    await Promise.resolve();
    assert.equal(buffer.waiting, 3);
    buffer.release(3, keys(1, 2, 3), 4, meta);
    const indexes = (await Promise.all(waiting)).map(({ index }) => index);
    assert.deepEqual(indexes, [5, 3, 4]);
    assert.equal(buffer.nextIndex, 6);
  });

  it('tells who waits for an index that a release has skipped', async () => {
    const buffer = new ChunkBuffer();
    const skipped = assert.rejects(buffer.wait(1, 10_000, late, signal), /index 1/);
    buffer.release(2, keys(1), 4, meta);
    await skipped;
    assert.deepEqual([buffer.nextIndex, buffer.size], [3, 1]);
  });

  it('refuses an index that has been taken, at once', async () => {
    const buffer = new ChunkBuffer();
    buffer.release(0, keys(1, 2), 4, meta);
    buffer.take(0);
    await assert.rejects(buffer.wait(0, 10_000, late, signal), (error) =>
      isReason(error, 'INSUFFICIENT_KEY'),
    );
  });

  it('never counts indexes back', () => {
    const buffer = new ChunkBuffer();
    buffer.burnBelow(9);
    buffer.release(4, keys(1, 2), 4, meta);
    assert.equal(buffer.nextIndex, 9);
  });

  it('names the highest index that is wanted, in whatever order they came', async () => {
    const buffer = new ChunkBuffer();
    const leaving = new AbortController();
    const waiting = [2, 7, undefined, 5].map((index) => buffer.wait(index, 10_000, late, leaving.signal));
    assert.equal(buffer.highestWanted, 7);
    leaving.abort();
    await Promise.allSettled(waiting);
  });

  it('shows the chunk that it would give, and leaves it', () => {
    const buffer = new ChunkBuffer();
    buffer.release(0, keys(1, 2, 3), 4, meta);
    assert.deepEqual([buffer.peek()?.index, buffer.peek(2)?.index, buffer.peek(9)], [0, 2, undefined]);
    assert.equal(buffer.size, 3);
  });

  it('gives what is put back to who waits', async () => {
    const buffer = new ChunkBuffer();
    buffer.release(0, keys(1), 4, meta);
    const chunk = buffer.take();
    const waiting = buffer.wait(undefined, 10_000, late, signal);
    assert.ok(chunk);
    buffer.putBack(chunk);
    assert.equal((await waiting).index, 0);
  });

  it('leaves no timer behind for whoever is served', async (t) => {
    const timers = t.mock.method(globalThis, 'clearTimeout');
    const buffer = new ChunkBuffer();
    const waiting = buffer.wait(undefined, 10_000, late, signal);
    buffer.release(0, keys(1), 4, meta);
    await waiting;
    assert.equal(timers.mock.callCount(), 1);
  });
});
