import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { KemAlgorithm } from '#common/catalogue/kems.ts';
import { algorithmOf, toyKem } from '#test/helpers/toy-kem.ts';
import type { KeyPairs } from './engines/kem-engine.ts';
import { Shelf } from './key-pair-shelf.ts';

const HALF_LIFE_MS = 30_000;
const { engine } = toyKem();
let wiped: number[];

function pair(number: number): KeyPairs {
  return {
    publicKeys: Buffer.from([number]),
    privateKeys: { count: 1, wipe: () => void wiped.push(number) },
  };
}

const numbers = (pairs: readonly KeyPairs[]) => pairs.map(({ publicKeys }) => publicKeys[0]);
const shelfOf = (algorithm: KemAlgorithm) => new Shelf(algorithm, engine);

beforeEach(() => {
  wiped = [];
});

describe('the shelf of one algorithm', () => {
  it('gives the oldest pairs first, and counts what was there and what was not', () => {
    const shelf = shelfOf(algorithmOf('heavy'));
    for (const number of [1, 2, 3]) shelf.put(pair(number));
    assert.deepEqual(numbers(shelf.take(2)), [1, 2]);
    assert.deepEqual(numbers(shelf.take(3)), [3]);
    assert.deepEqual([shelf.hits, shelf.misses, shelf.ready], [3, 2, 0]);
  });

  it('gives a new pair to whoever waits longest, before anybody who comes later', async () => {
    const shelf = shelfOf(algorithmOf('heavy'));
    const [first, second] = [shelf.wait(), shelf.wait()];
    assert.ok(first.since < second.since);
    shelf.put(pair(1));
    assert.deepEqual(numbers([await first.promise]), [1]);
    assert.deepEqual(shelf.take(1), [], 'somebody waits already');
    shelf.put(pair(2));
    assert.deepEqual(numbers([await second.promise]), [2]);
    shelf.put(pair(3));
    assert.equal(shelf.ready, 1);
  });

  it('knows for whom no pair is being made yet', () => {
    const shelf = shelfOf(algorithmOf('heavy'));
    const [first, second] = [shelf.wait(), shelf.wait()];
    assert.equal(shelf.unserved, first);
    shelf.making = 1;
    assert.equal(shelf.unserved, second);
    shelf.making = 2;
    assert.equal(shelf.unserved, undefined);
  });

  it('tells the one who waited for a generation that failed, and leaves the background alone for a while', async () => {
    const shelf = shelfOf(algorithmOf('heavy'));
    const [first, second] = [shelf.wait(), shelf.wait()];
    shelf.failed(new Error('no entropy'), 700);
    await assert.rejects(first.promise, /no entropy/);
    assert.equal(shelf.pausedUntil, 700);
    shelf.refuseAll(new Error('stopping'));
    await assert.rejects(second.promise, /stopping/);
  });

  it('wipes the oldest beyond what it should keep', () => {
    const shelf = shelfOf(algorithmOf('heavy'));
    for (const number of [1, 2, 3]) shelf.put(pair(number));
    shelf.trimTo(5);
    assert.deepEqual(wiped, []);
    shelf.trimTo(1);
    assert.deepEqual(wiped, [1, 2]);
    shelf.trimTo(0);
    assert.deepEqual(wiped, [1, 2, 3]);
  });

  it('should have as many as were asked for lately, two at least, and forgets by half in 30 s', () => {
    const shelf = shelfOf(algorithmOf('heavy'));
    assert.equal(shelf.target(0, 100), 0);
    shelf.asked(16, 0);
    assert.equal(shelf.target(0, 100), 16);
    assert.equal(shelf.target(0, 10), 10, 'bounded');
    assert.equal(shelf.target(HALF_LIFE_MS, 100), 8);
    shelf.asked(8, HALF_LIFE_MS);
    assert.equal(shelf.target(HALF_LIFE_MS, 100), 16, 'what is left and what comes add up');
    assert.equal(shelf.target(11 * HALF_LIFE_MS, 100), 2);
    assert.equal(shelf.target(60 * HALF_LIFE_MS, 100), 0, 'nobody asks any more');
  });

  it('measures algorithms of medium cost only, after some generations, and does not waver', () => {
    const [light, medium, heavy] = (['light', 'medium', 'heavy'] as const).map((cost) =>
      shelfOf(algorithmOf(cost)),
    ) as [Shelf, Shelf, Shelf];
    for (const shelf of [light, heavy])
      for (let i = 0; i < 10; i++) shelf.measured(shelf === light ? 50 : 0, 2);
    assert.deepEqual([light.slow, heavy.slow], [false, true]);
    for (let i = 0; i < 3; i++) medium.measured(50, 2);
    assert.equal(medium.slow, false, 'the first ones count for nothing');
    for (let i = 0; i < 30; i++) medium.measured(3, 2);
    assert.equal(medium.slow, true);
    for (let i = 0; i < 30; i++) medium.measured(1.5, 2);
    assert.equal(medium.slow, true, 'only at half of it');
    for (let i = 0; i < 30; i++) medium.measured(0.5, 2);
    assert.equal(medium.slow, false);
  });

  it('says how much memory a pair takes', () => {
    const row = algorithmOf('heavy');
    assert.equal(shelfOf(row).pairBytes, row.publicKeyBytes + row.privateKeyBytes);
  });
});
