import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeySupply, type SupplyOptions } from './key-supply.ts';

let nowMs = 0;

function supply(change: Partial<SupplyOptions> = {}): KeySupply {
  nowMs = 1_000;
  return new KeySupply({
    ...{ rateBps: 2_560, bufferBytes: 320, arrivals: 'even', now: () => nowMs, random: () => 0.5 },
    ...change,
  });
}

/** Keys of 32 bytes that are there after `ms`. */
function after(keys: KeySupply, ms: number): number {
  nowMs += ms;
  let count = 0;
  while (keys.spend(32)) count += 1;
  return count;
}

describe('KeySupply', () => {
  it('has saved up its buffer at the start, then gives its rate and saves no more than the buffer', () => {
    const keys = supply();
    assert.deepEqual([after(keys, 0), after(keys, 500), after(keys, 50), after(keys, 50)], [10, 5, 0, 1]);
    assert.equal(after(keys, 60_000), 10);
  });

  it('gives as much as anybody wants without a limit', () => {
    const keys = supply({ rateBps: Number.POSITIVE_INFINITY });
    assert.ok(keys.spend(1_000_000));
  });

  it('gives another rate from the moment that it is set, and nothing of 0', () => {
    const keys = supply();
    after(keys, 0);
    nowMs += 200;
    keys.setRate(256);
    assert.equal(after(keys, 1_000), 2 + 1);
    keys.setRate(0);
    assert.equal(after(keys, 3_600_000), 0);
    keys.setRate(2_560);
    assert.equal(after(keys, 200), 2);
  });

  it('stands still during its outages', () => {
    const keys = supply({ outages: { everyMs: 1_000, forMs: 400 } });
    after(keys, 0);
    assert.deepEqual([after(keys, 600), after(keys, 400), after(keys, 100)], [6, 0, 1]);
  });

  for (const [name, outages] of [
    ['always', undefined],
    ['with outages', { everyMs: 10_000, forMs: 5_000 }],
  ] as const) {
    it(`gives single keys at random moments, as many on average: ${name}`, () => {
      let seed = 7;
      const random = () => {
        seed = (seed * 16_807) % 2_147_483_647;
        return seed / 2_147_483_647;
      };
      const keys = supply({ arrivals: 'poisson', bufferBytes: 32_000, random, outages });
      after(keys, 0);
      const each = Array.from({ length: 2_000 }, () => after(keys, 100));
      const mean = each.reduce((sum, count) => sum + count, 0) / each.length;
      const expected = outages ? 0.5 : 1;
      assert.ok(Math.abs(mean - expected) < 0.1, `${mean} keys each 100 ms`);
      assert.ok(each.some((count) => count === 0) && each.some((count) => count >= 3));
    });
  }
});
