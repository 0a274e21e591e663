import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ReadAhead } from './read-ahead.ts';

describe('ReadAhead', () => {
  it('is nothing at first, and at most a two-hundredth of what was used', () => {
    const ahead = new ReadAhead();
    for (let ms = 0; ms < 20_000; ms += 10) ahead.granted(4, ms);
    assert.equal(ahead.keys(20_000), 0);
    ahead.used(199);
    assert.equal(ahead.keys(20_000), 0);
    ahead.used(1_801);
    assert.equal(ahead.keys(20_000), 10);
  });

  it('is a tenth of a second of the pace where much was used, and goes with it', () => {
    const ahead = new ReadAhead();
    ahead.used(1_000_000);
    for (let ms = 0; ms < 20_000; ms += 10) ahead.granted(4, ms);
    assert.ok(Math.abs(ahead.keys(20_000) - 40) <= 1, `${ahead.keys(20_000)}`);
    assert.equal(ahead.keys(60_000), 0);
  });
});
