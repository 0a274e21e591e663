import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { Slots } from './slots.ts';

const never = new AbortController().signal;

describe('Slots', () => {
  it('runs as many as there are, the rest in order of arrival', async () => {
    const slots = new Slots(2);
    const order: number[] = [];
    let running = 0;
    const work = (i: number) => async () => {
      running += 1;
      assert.ok(running <= 2);
      order.push(i);
      await new Promise(setImmediate);
      running -= 1;
      if (i % 3 === 0) throw new Error('failed');
    };
    const results = await Promise.allSettled(Array.from({ length: 10 }, (_, i) => slots.run(never, work(i))));
    assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.equal(results.filter(({ status }) => status === 'rejected').length, 4);
  });

  it('lets a waiting one go with its signal, and keeps the slot for the next', async () => {
    const slots = new Slots(1);
    const held = Promise.withResolvers<void>();
    const first = slots.run(never, () => held.promise);
    const leaving = new AbortController();
    const second = slots.run(leaving.signal, () => assert.fail('it has left'));
    const third = slots.run(never, async () => 'third');
    leaving.abort(new Error('left'));
    await assert.rejects(second, /left/);
    await assert.rejects(
      slots.run(leaving.signal, () => assert.fail('it has left')),
      /left/,
    );
    held.resolve();
    await first;
    assert.equal(await third, 'third');
    assert.equal(await slots.run(never, async () => 'free again'), 'free again');
  });

  it('has as many as before when all have been free again', async () => {
    const slots = new Slots(1);
    for (let i = 0; i < 3; i++) await slots.run(never, async () => undefined);
    const held = Promise.withResolvers<void>();
    const first = slots.run(never, () => held.promise);
    let begun = false;
    const second = slots.run(never, async () => {
      begun = true;
    });
    await new Promise(setImmediate);
    assert.equal(begun, false);
    held.resolve();
    await Promise.all([first, second]);
  });

  it('leaves nothing at the signal of one that has had its turn', async () => {
    const slots = new Slots(1);
    const { signal } = new AbortController();
    const held = Promise.withResolvers<void>();
    const first = slots.run(signal, () => held.promise);
    const second = slots.run(signal, async () => undefined);
    assert.equal(getEventListeners(signal, 'abort').length, 1);
    held.resolve();
    await Promise.all([first, second]);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });
});
