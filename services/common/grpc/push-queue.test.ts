import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { PushQueue } from '#common/grpc/push-queue.ts';

async function all<T>(queue: PushQueue<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of queue) items.push(item);
  return items;
}

describe('PushQueue', () => {
  it('tells how many wait, and takes back what has not been read', async () => {
    const queue = new PushQueue<number>();
    for (const item of [1, 2, 3]) queue.push(item);
    assert.equal(queue.length, 3);
    assert.equal(queue.remove(2), true);
    assert.equal(queue.remove(2), false);
    queue.end();
    assert.deepEqual(await all(queue), [1, 3]);
    assert.equal(queue.length, 0);
    assert.equal(queue.remove(1), false);
  });

  it('gives what was pushed before anybody read, and what comes later, in order', async () => {
    const queue = new PushQueue<number>();
    queue.push(1);
    queue.push(2);
    const read: number[] = [];
    const reading = (async () => {
      for await (const item of queue) read.push(item);
    })();
    await nextTurn();
    assert.deepEqual(read, [1, 2]);
    queue.push(3);
    await nextTurn();
    queue.push(4);
    queue.push(5);
    await nextTurn();
    assert.deepEqual(read, [1, 2, 3, 4, 5]);
    queue.end();
    await reading;
  });

  it('ends once what was pushed has been read, and takes nothing more', async () => {
    const queue = new PushQueue<number>();
    queue.push(1);
    queue.end();
    queue.push(2);
    assert.deepEqual(await all(queue), [1]);
    assert.deepEqual(await all(queue), []);
  });

  it('wakes a reader that waits when it ends', async () => {
    const queue = new PushQueue<number>();
    const reading = all(queue);
    await nextTurn();
    queue.end();
    assert.deepEqual(await reading, []);
  });
});
