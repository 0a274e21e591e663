import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ChunkBuffer } from './chunk-buffer.ts';

const meta = { nowMs: 5, degraded: false };
const keys = (...values: number[]) => Buffer.concat(values.map((value) => Buffer.alloc(4, value)));
const late = () => 'late';

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
    const next = buffer.wait(undefined, 1000, late);
    const named = buffer.wait(0, 1000, late);
    assert.equal(buffer.highestWanted, 0);
    buffer.release(0, keys(1, 2), 4, meta);
    assert.deepEqual([(await named).index, (await next).index], [0, 1]);
  });

  it('refuses an index that was burned, waiting or not', async () => {
    const buffer = new ChunkBuffer();
    const waiting = assert.rejects(buffer.wait(1, 1000, late), (error) =>
      isReason(error, 'INSUFFICIENT_KEY'),
    );
    buffer.burnBelow(3);
    await waiting;
    await assert.rejects(buffer.wait(2, 1000, late), /index 2/);
    assert.equal(buffer.nextIndex, 3);
    buffer.burnBelow(1);
    assert.equal(buffer.nextIndex, 3, 'an index was used again');
  });

  it('times out in the words it was given', async () => {
    await assert.rejects(new ChunkBuffer().wait(undefined, 1, late), /TIMEOUT: late/);
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
    const waiting = buffer.wait(undefined, 1000, late);
    buffer.failWaiters(new KeyweaveError('QKD_UNAVAILABLE', 'gone'));
    await assert.rejects(waiting, /gone/);
    buffer.release(0, keys(7), 4, meta);
    const key = buffer.peek()?.key.expose();
    buffer.wipe();
    assert.equal(buffer.size, 0);
    assert.ok(key?.every((byte) => byte === 0));
  });
});
