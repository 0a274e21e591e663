import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FairShares, type Taker } from './fair-shares.ts';

interface Named extends Taker {
  readonly name: string;
  qkdWanted: number;
}

const taker = (name: string, change: Partial<Named> = {}): Named => ({
  ...{ name, qkdSlots: 1, qkdWanted: 100, urgent: true, weight: 1 },
  ...change,
});

let shares: FairShares<Named>;
let nowMs: number;

beforeEach(() => {
  shares = new FairShares();
  nowMs = 0;
});

/** What each gets out of `keys`, of whom all ask. */
function allot(keys: number, takers: readonly Named[], supply?: number): Record<string, number> {
  for (const one of takers) shares.ask(one, nowMs);
  const allotted = shares.allot(takers, keys, { supply, nowMs });
  return Object.fromEntries([...allotted].map(([{ name }, count]) => [name, count]));
}

/** What each gets in `seconds` in which `perSecond` keys come one by one, and each wants so many a second. */
function run(
  takers: readonly (readonly [taker: Named, perSecond: number])[],
  perSecond: number,
  seconds: number,
) {
  const got: Record<string, number> = {};
  for (const [one] of takers) one.qkdWanted = 0;
  for (let i = 0; i < perSecond * seconds; i++) {
    nowMs += 1_000 / perSecond;
    for (const [one, wanted] of takers) one.qkdWanted = Math.min(50, one.qkdWanted + wanted / perSecond);
    const waiting = takers.map(([one]) => one).filter(({ qkdWanted }) => qkdWanted >= 1);
    for (const one of waiting) shares.ask(one, nowMs);
    const whole = waiting.map((one) => ({ one, rest: one.qkdWanted % 1 }));
    for (const { one } of whole) one.qkdWanted = Math.floor(one.qkdWanted);
    for (const [one, count] of shares.allot(waiting, 1, { supply: perSecond, nowMs })) {
      got[one.name] = (got[one.name] ?? 0) + count;
      one.qkdWanted -= count;
    }
    for (const { one, rest } of whole) one.qkdWanted += rest;
  }
  return got;
}

describe('FairShares', () => {
  it('gives everybody what they want where there is enough', () => {
    assert.deepEqual(allot(10, [taker('a', { qkdWanted: 4 }), taker('b', { qkdWanted: 6 })]), { a: 4, b: 6 });
    assert.deepEqual(allot(10, [taker('a', { qkdWanted: 0 })]), {});
    assert.deepEqual(allot(0, [taker('a')]), {});
  });

  it('gives no more than there is, and whole chunks', () => {
    assert.deepEqual(allot(7, [taker('a', { qkdSlots: 3, qkdWanted: 9 })]), { a: 6 });
    assert.deepEqual(allot(2, [taker('a', { qkdSlots: 3, qkdWanted: 9 })]), {});
  });

  it('gives even parts to equals, whoever came first', () => {
    const many = ['a', 'b', 'c', 'd'].map((name) => taker(name));
    assert.deepEqual(allot(8, many), { a: 2, b: 2, c: 2, d: 2 });
    const got = allot(2, many.toReversed());
    assert.equal(Object.keys(got).length, 2);
    const rest = allot(2, many);
    assert.deepEqual(new Set([...Object.keys(got), ...Object.keys(rest)]).size, 4, 'somebody is passed over');
  });

  it('gives by weight', () => {
    assert.deepEqual(allot(90, [taker('low'), taker('high', { weight: 8 })]), { low: 10, high: 80 });
  });

  it('counts keys and not chunks', () => {
    assert.deepEqual(allot(80, [taker('one'), taker('two', { qkdSlots: 2 })]), { one: 40, two: 40 });
  });

  it('gives those first for whom somebody waits', () => {
    const ahead = taker('ahead', { urgent: false, weight: 8 });
    assert.deepEqual(allot(5, [ahead, taker('waits', { qkdWanted: 4 })]), { waits: 4, ahead: 1 });
    assert.deepEqual(allot(5, [ahead, taker('waits', { qkdWanted: 50 })]), { waits: 5 });
  });

  it('has those whose chunks take several keys wait for them together, and lets nobody take them away', () => {
    const [pair, single] = [taker('pair', { qkdSlots: 2, qkdWanted: 2 }), taker('single')];
    allot(10, [single]);
    assert.deepEqual(allot(1, [single, pair]), {});
    assert.deepEqual(allot(2, [single, pair]), { pair: 2 });
  });

  it('never starves one that asks for little: it has all that it wants beside a greedy one of any weight', () => {
    const modest = Array.from({ length: 10 }, (_, i) => taker(`modest ${i}`));
    const greedy = taker('greedy', { weight: 8 });
    const got = run([[greedy, 100], ...modest.map((one) => [one, 0.5] as const)], 8, 60);
    for (const { name } of modest) assert.ok((got[name] ?? 0) >= 28, `${name} has ${got[name]} of 30`);
    assert.ok((got.greedy ?? 0) >= 8 * 60 - 10 * 31, `what is left is ${got.greedy}`);
  });

  it('gives what the modest leave to the others by weight', () => {
    const got = run(
      [
        [taker('modest'), 1],
        [taker('low'), 100],
        [taker('high', { weight: 3 }), 100],
      ],
      9,
      100,
    );
    assert.ok((got.modest ?? 0) >= 95, `${got.modest}`);
    const ratio = (got.high ?? 0) / (got.low ?? 1);
    assert.ok(ratio > 1.5 && ratio <= 3.1, `${got.high} to ${got.low}`);
  });

  it('gives nobody the keys of a time in which they asked for none', () => {
    const [old, young] = [taker('old'), taker('young')];
    for (let i = 0; i < 100; i++) allot(10, [old]);
    const got = allot(20, [old, young]);
    assert.deepEqual(got, { old: 10, young: 10 });
  });

  it('counts those that have asked in the last ten seconds, and forgets who has left', () => {
    const [a, b] = [taker('a'), taker('b')];
    shares.ask(a, 0);
    shares.ask(b, 5_000);
    assert.deepEqual([shares.active(10_000), shares.active(10_001), shares.active(15_001)], [2, 1, 0]);
    shares.ask(a, 12_000);
    shares.forget(b);
    assert.equal(shares.active(12_000), 1);
  });
});
