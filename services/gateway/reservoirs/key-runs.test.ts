import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { keyOf, keysFrom, numbersOf } from '#test/helpers/fake-key-manager.ts';
import { KeyRuns } from './key-runs.ts';

/** Runs of the numbers that are given as [first, count, sinceMs]; and their memory. */
function runsOf(...parts: readonly (readonly [first: number, count: number, sinceMs?: number])[]) {
  const runs = new KeyRuns();
  const memory = parts.map(([first, count, sinceMs = 0]) => {
    const keys = keysFrom(0, first, count);
    runs.add(first, keys, sinceMs);
    return keys;
  });
  return { runs, memory };
}

const isZero = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);

describe('KeyRuns', () => {
  it('has nothing at first', () => {
    const { runs } = runsOf();
    runs.add(3, Buffer.alloc(0), 0);
    assert.deepEqual(
      [runs.count, runs.first, runs.oldestMs, runs.stretch(1, 9), runs.from(0, 9), runs.wipe()],
      [0, undefined, undefined, undefined, 0, 0],
    );
  });

  it('gives a key once, as a copy, and wipes its own', () => {
    const { runs, memory } = runsOf([5, 4]);
    const taken = runs.take(6, 2);
    assert.deepEqual(numbersOf(taken), [6, 7]);
    assert.ok(isZero((memory[0] as Buffer).subarray(32, 96)));
    assert.deepEqual([runs.count, runs.from(5, 9), runs.from(6, 9), runs.from(8, 9)], [2, 1, 0, 1]);
    for (const number of [6, 7, 9, 4]) assert.throws(() => runs.take(number, 1), RangeError);
    assert.throws(() => runs.take(5, 2), /keys 5 to 6 are not here/);
    assert.equal(runs.count, 2, 'what is refused changes nothing');
  });

  it('takes over several runs that follow each other, whichever came first', () => {
    const { runs } = runsOf([4, 2], [0, 2], [2, 2]);
    assert.equal(runs.first, 0);
    assert.deepEqual(runs.stretch(1, 100), { first: 0, count: 6 });
    assert.deepEqual(numbersOf(runs.take(1, 4)), [1, 2, 3, 4]);
    assert.deepEqual([runs.first, runs.from(5, 9), runs.count], [0, 1, 2]);
  });

  it('names the first stretch that is long enough, and no more of it than is asked for', () => {
    const { runs } = runsOf([1, 1], [3, 2], [5, 1], [9, 8]);
    for (const [least, most, stretch] of [
      [1, 9, { first: 1, count: 1 }],
      [2, 2, { first: 3, count: 2 }],
      [2, 9, { first: 3, count: 3 }],
      [4, 4, { first: 9, count: 4 }],
      [8, 80, { first: 9, count: 8 }],
      [9, 80, undefined],
    ] as const) {
      assert.deepEqual(runs.stretch(least, most), stretch, `${least} to ${most}`);
    }
  });

  it('burns what is below a number, and what is older than a time, and says how many', () => {
    const { runs, memory } = runsOf([0, 4, 100], [6, 2, 50], [8, 2, 200]);
    assert.equal(runs.oldestMs, 50);
    assert.equal(runs.burnBelow(3), 3);
    assert.ok(isZero((memory[0] as Buffer).subarray(0, 96)));
    assert.deepEqual((memory[0] as Buffer).subarray(96), keyOf(0, 3));
    assert.equal(runs.burnBelow(3), 0);
    assert.equal(runs.burnOlder(100), 2);
    assert.ok(isZero(memory[1] as Buffer));
    assert.deepEqual([runs.first, runs.oldestMs, runs.count], [3, 100, 3]);
    assert.equal(runs.burnOlder(101), 1);
    assert.equal(runs.wipe(), 2);
    for (const keys of memory) assert.ok(isZero(keys));
  });

  it('does what a list of numbered keys would, and leaves none of them unwiped', () => {
    const nat = fc.nat(24);
    const move = fc.oneof(
      fc.record({ what: fc.constant('add' as const), first: nat, count: fc.nat(6), sinceMs: nat }),
      fc.record({ what: fc.constant('take' as const), first: nat, count: fc.nat(6) }),
      fc.record({ what: fc.constant('burnBelow' as const), end: nat }),
      fc.record({ what: fc.constant('burnOlder' as const), ms: nat }),
      fc.record({
        what: fc.constant('stretch' as const),
        least: fc.integer({ min: 1, max: 5 }),
        more: fc.nat(5),
      }),
    );
    fc.assert(
      fc.property(fc.array(move, { maxLength: 40 }), (moves) => {
        const runs = new KeyRuns();
        const model = new Map<number, number>();
        const memory: Buffer[] = [];
        const follow = (first: number) => {
          let count = 0;
          while (model.has(first + count)) count += 1;
          return count;
        };
        const burn = (is: (number: number, sinceMs: number) => boolean) => {
          const burned = [...model].filter(([number, sinceMs]) => is(number, sinceMs));
          for (const [number] of burned) model.delete(number);
          return burned.length;
        };
        for (const step of moves) {
          if (step.what === 'add') {
            const { first, count, sinceMs } = step;
            const numbers = Array.from({ length: count }, (_, i) => first + i);
            if (numbers.some((number) => model.has(number))) continue;
            for (const number of numbers) model.set(number, sinceMs);
            memory.push(keysFrom(0, first, count));
            runs.add(first, memory.at(-1) as Buffer, sinceMs);
          } else if (step.what === 'take') {
            const { first, count } = step;
            assert.equal(runs.from(first, count), Math.min(count, follow(first)));
            if (follow(first) < count) {
              assert.throws(() => runs.take(first, count), RangeError);
              continue;
            }
            const taken = runs.take(first, count);
            assert.deepEqual(taken, keysFrom(0, first, count));
            burn((number) => number >= first && number < first + count);
          } else if (step.what === 'burnBelow') {
            assert.equal(
              runs.burnBelow(step.end),
              burn((number) => number < step.end),
            );
          } else if (step.what === 'burnOlder') {
            assert.equal(
              runs.burnOlder(step.ms),
              burn((_, sinceMs) => sinceMs < step.ms),
            );
          } else {
            const most = step.least + step.more;
            const first = [...model.keys()]
              .sort((a, b) => a - b)
              .find((number) => !model.has(number - 1) && follow(number) >= step.least);
            const stretch = first === undefined ? undefined : { first, count: Math.min(most, follow(first)) };
            assert.deepEqual(runs.stretch(step.least, most), stretch);
          }
          assert.equal(runs.count, model.size);
          assert.equal(runs.first, model.size === 0 ? undefined : Math.min(...model.keys()));
          assert.equal(runs.oldestMs, model.size === 0 ? undefined : Math.min(...model.values()));
          const left = memory.flatMap((keys) =>
            numbersOf(keys).filter((_, i) => !isZero(keys.subarray(i * 32, (i + 1) * 32))),
          );
          assert.deepEqual(
            left.sort((a, b) => a - b),
            [...model.keys()].sort((a, b) => a - b),
          );
        }
      }),
      { numRuns: 500 },
    );
  });
});
