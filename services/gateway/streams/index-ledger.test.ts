import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { IndexLedger } from './index-ledger.ts';

let ledger: IndexLedger;

beforeEach(() => {
  ledger = new IndexLedger();
});

const places = () => [ledger.frontier, ledger.next];
const isUsed = (error: unknown) => isReason(error, 'AGREEMENT_FAILED') && /used before/.test(String(error));

describe('IndexLedger', () => {
  it('begins at 0, with nothing under way and nothing decided', () => {
    assert.deepEqual(places(), [0, 0]);
    assert.equal(ledger.wasReleased(0), false);
  });

  it('allots indexes in ascending order, each once', () => {
    assert.deepEqual([ledger.allot(3), ledger.allot(1), ledger.allot(5)], [0, 3, 4]);
    assert.deepEqual(places(), [0, 9]);
  });

  it('keeps the frontier at the oldest batch that is not over, however the others end', () => {
    for (const count of [2, 2, 2]) ledger.allot(count);
    ledger.settle(2, true);
    assert.deepEqual(places(), [0, 6]);
    ledger.settle(0, false);
    assert.deepEqual(places(), [4, 6]);
    ledger.settle(4, true);
    assert.deepEqual(places(), [6, 6]);
  });

  it('gives the indexes behind a batch that came out shorter to the next one', () => {
    ledger.allot(8);
    ledger.shorten(0, 3);
    assert.equal(ledger.allot(2), 3);
    ledger.settle(0, true);
    assert.deepEqual(places(), [3, 5]);
  });

  it('gives indexes of which nothing was made to the next batch, and has decided nothing about them', () => {
    ledger.settle(ledger.allot(2), true);
    ledger.giveBack(ledger.allot(4));
    assert.deepEqual(places(), [2, 2]);
    assert.equal(ledger.wasReleased(2), false);
    assert.equal(ledger.allot(1), 2);
  });

  it('lets a batch be released after those before it, but for such as are dropped, and behind none', () => {
    for (const count of [2, 2, 2]) ledger.allot(count);
    assert.equal(ledger.mayBeReleased(0), true);
    ledger.settle(4, false);
    assert.equal(ledger.mayBeReleased(2), true);
    ledger.settle(2, true);
    assert.deepEqual(
      [0, 2, 4].map((first) => ledger.mayBeReleased(first)),
      [false, false, true],
    );
  });

  it('takes over what the initiator has taken, and burns what lies between', () => {
    ledger.claim(0, 2);
    ledger.settle(0, true);
    ledger.claim(7, 3);
    assert.deepEqual(places(), [7, 10]);
    ledger.settle(7, false);
    assert.deepEqual(places(), [10, 10]);
  });

  it('never takes an index twice: released, burned, skipped or under way', () => {
    ledger.claim(2, 2);
    ledger.settle(2, true);
    ledger.claim(4, 2);
    ledger.settle(4, false);
    ledger.claim(6, 2);
    for (const index of [0, 1, 2, 3, 4, 5, 6, 7]) {
      assert.throws(() => ledger.claim(index, 1), isUsed, `index ${index}`);
      assert.throws(() => ledger.assertUnused(index), isUsed, `index ${index}`);
    }
    ledger.assertUnused(8);
    assert.deepEqual(places(), [6, 8], 'what was refused left a trace');
  });

  it('takes the rest of a claim that came out shorter, and no more', () => {
    ledger.claim(8, 5);
    ledger.shorten(8, 2);
    assert.throws(() => ledger.claim(9, 1), isUsed);
    ledger.claim(10, 1);
    assert.deepEqual(places(), [8, 11]);
  });

  it('tells what was released from what was dropped, is open, or never was', () => {
    ledger.settle(ledger.allot(1), true);
    ledger.settle(ledger.allot(1), false);
    ledger.allot(1);
    assert.deepEqual(
      [0, 1, 2, 3].map((first) => ledger.wasReleased(first)),
      [true, false, false, false],
    );
  });

  it('remembers the last sixteen batches that it released, however many came to nothing since', () => {
    for (let i = 0; i < 17; i++) ledger.settle(ledger.allot(1), true);
    for (let i = 0; i < 100; i++) ledger.settle(ledger.allot(1), false);
    assert.deepEqual(
      [0, 1, 16, 17, 116].map((first) => ledger.wasReleased(first)),
      [false, true, true, false, false],
    );
  });
});
