import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ReservoirBench, type TestTaker } from '#test/helpers/reservoir-bench.ts';

let bench: ReservoirBench;

beforeEach(() => {
  bench = new ReservoirBench();
});
afterEach(() => {
  bench.assertBalance();
  bench.reservoir.end('the test is over');
});

/** Has each taker ask for its keys again as soon as it has used up what it got, for `ms`. */
async function serve(
  takers: readonly (readonly [taker: TestTaker, keys: number])[],
  ms: number,
  perSecond: number,
): Promise<void> {
  for (let past = 0; past < ms; past += 20) {
    for (const [taker, keys] of takers) {
      for (const grant of taker.grants) if (bench.out.has(grant)) bench.use(grant);
      if (!bench.reservoir.isAskedBy(taker)) await taker.ask(keys);
    }
    await bench.flow(20, perSecond);
  }
}

const keysOf = ({ numbers }: TestTaker) => numbers.flat().length;

describe('an initiator whose QKD keys are scarce', () => {
  it('serves one whose chunks take several keys beside one that takes every single key', async () => {
    const [greedy, modest] = [bench.taker(), bench.taker({ slots: 2 })];
    bench.keys.left = 0;
    await serve(
      [
        [greedy, 64],
        [modest, 2],
      ],
      30_000,
      4,
    );
    assert.ok(keysOf(modest) >= 20, `${keysOf(modest)} of ${keysOf(greedy)} keys`);
  });

  it('reads on where the keys that it holds do not follow each other', async () => {
    const [one, two] = [bench.taker(), bench.taker()];
    const pair = bench.taker({ slots: 2 });
    await one.ask(1);
    await two.ask(1);
    bench.use(two.last);
    bench.giveBack(one.last);
    await pair.ask(2);
    assert.deepEqual(pair.numbers, [[2, 3]]);
  });

  it('tells those who wait when a slow key manager gives nothing any more', async () => {
    const told = new Map<number, number | undefined>();
    for (const perSecond of [1, 4, 8, 80]) {
      bench = new ReservoirBench();
      bench.keys.left = 0;
      const taker = bench.taker();
      await serve([[taker, 64]], 20_000, perSecond);
      taker.errors.length = 0;
      for (const grant of taker.grants) if (bench.out.has(grant)) bench.use(grant);
      // What there still is comes first.
      bench.keys.left = 0;
      await taker.ask(8);
      const since = bench.clock.monotonicMs();
      while (taker.errors.length === 0 && bench.clock.monotonicMs() < since + 30_000)
        await bench.flow(100, 0);
      if (isReason(taker.errors[0], 'INSUFFICIENT_KEY'))
        told.set(perSecond, bench.clock.monotonicMs() - since);
      else told.set(perSecond, undefined);
    }
    for (const ms of told.values()) {
      assert.ok(ms !== undefined && ms <= 6_000, `told after ${JSON.stringify([...told])} ms`);
    }
  });
});
