import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { FairTurns } from './fair-turns.ts';

/** Keeps the event loop busy, as requests do. */
function work(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

describe('FairTurns', () => {
  it('serves one after the other, whoever asks again behind those who wait', async () => {
    const turns = new FairTurns();
    const order: string[] = [];
    let greedy = 5;
    const a = () => {
      order.push('a');
      if (--greedy > 0) turns.add(a);
    };
    turns.add(a);
    turns.add(() => order.push('b'));
    turns.add(() => order.push('c'));
    await turn();
    await turn();
    assert.deepEqual(order, ['a', 'b', 'c', 'a', 'a', 'a', 'a']);
  });

  it('lets everything else have its turn in between, and goes on where it was', async () => {
    const turns = new FairTurns();
    const order: string[] = [];
    for (const name of ['a', 'b', 'c']) {
      const go = () => {
        order.push(name);
        work(3);
        if (order.length < 6) turns.add(go);
      };
      turns.add(go);
    }
    assert.deepEqual(order, [], 'it was served at once');
    const seen: number[] = [];
    while (order.length < 6) {
      await turn();
      seen.push(order.length);
    }
    assert.deepEqual(order.slice(0, 6), ['a', 'b', 'c', 'a', 'b', 'c']);
    assert.ok(
      seen.every((count, i) => count - (seen[i - 1] ?? 0) <= 1),
      `${seen}`,
    );
  });

  it('forgets those who have gone, and serves once who asks twice', async () => {
    const turns = new FairTurns();
    let served = 0;
    const go = () => {
      served += 1;
    };
    turns.add(go);
    turns.add(go);
    await turn();
    assert.equal(served, 1);
    turns.add(go);
    turns.remove(go);
    await turn();
    assert.equal(served, 1);
  });
});
