import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Pace, Supply } from './link-rates.ts';

describe('Pace', () => {
  it('tells how many there were a second, over the last two', () => {
    const pace = new Pace();
    assert.equal(pace.perSecond(0), 0);
    for (let ms = 0; ms < 20_000; ms += 10) pace.note(1, ms);
    const now = pace.perSecond(20_000);
    assert.ok(Math.abs(now - 100) < 1, `${now}`);
    const later = pace.perSecond(22_000);
    assert.ok(Math.abs(later - 100 / Math.E) < 1, `${later}`);
    assert.ok(pace.perSecond(60_000) < 0.001);
  });
});

describe('Supply', () => {
  /** A key manager that gives so many keys a second, and is asked every 100 ms for more than it has. */
  function asked(perSecond: number, seconds: number, supply = new Supply(), from = 0) {
    let part = 0;
    for (let ms = from; ms <= from + seconds * 1_000; ms += 100) {
      part += perSecond / 10;
      const keys = Math.floor(part);
      part -= keys;
      supply.note(keys, true, ms);
    }
    return supply;
  }

  it('is not known of a key manager that has never run dry', () => {
    const supply = new Supply();
    for (let ms = 0; ms < 5_000; ms += 100) supply.note(50, false, ms);
    assert.equal(supply.perSecond(5_000), undefined);
    supply.note(3, true, 5_000);
    assert.equal(supply.perSecond(5_000), undefined, 'one dry moment says nothing yet');
  });

  it('is what comes between dry moments', () => {
    for (const perSecond of [4, 8, 80]) {
      const rate = asked(perSecond, 20).perSecond(20_000) as number;
      assert.ok(Math.abs(rate - perSecond) < perSecond / 4, `${rate} of ${perSecond}`);
    }
  });

  it('takes no moments for a measure that are less than 200 ms apart', () => {
    const supply = new Supply();
    supply.note(0, true, 0);
    supply.note(5, true, 199);
    assert.equal(supply.perSecond(199), undefined);
    supply.note(5, true, 200);
    assert.equal(supply.perSecond(200), 50);
  });

  it('follows a link that gets slower, and faster', () => {
    const supply = asked(40, 20);
    asked(10, 5, supply, 20_100);
    assert.ok(Math.abs((supply.perSecond(25_100) as number) - 10) < 3);
    asked(40, 5, supply, 25_200);
    assert.ok((supply.perSecond(30_200) as number) > 30);
  });

  it('is not known any more ten seconds after the last dry moment, nor measured over a longer time', () => {
    const supply = asked(8, 20);
    assert.notEqual(supply.perSecond(30_000), undefined);
    assert.equal(supply.perSecond(30_001), undefined);
    supply.note(100, true, 31_000);
    assert.equal(supply.perSecond(31_000), undefined);
    supply.note(8, true, 32_000);
    assert.equal(supply.perSecond(32_000), 8);
  });
});
