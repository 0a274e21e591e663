import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { History, KEPT_MS } from './history.ts';

describe('the history', () => {
  it('gives what came after a moment, and all of it to a page of another start', () => {
    const history = new History();
    for (const at of [1_000, 2_000, 3_000]) history.add(at, { b: [at] });
    const numbers = (n: number) => history.since(n).map((moment) => moment.n);
    assert.deepEqual([numbers(0), numbers(2), numbers(3)], [[1, 2, 3], [3], []]);
    assert.deepEqual(numbers(99), [1, 2, 3]);
  });

  it('is of the last five minutes, and of so many moments at most', () => {
    const history = new History();
    for (let i = 0; i < 1_000; i++) history.add(i * 100, {});
    assert.equal(history.since(0).length, 300);
    assert.equal(history.since(0)[0]?.n, 701);
    history.add(99_900 + KEPT_MS, {});
    assert.deepEqual(
      history.since(0).map(({ n }) => n),
      [1_000, 1_001],
    );
  });
});
