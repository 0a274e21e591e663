import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isSound, mapSound, mapTogether, type Outcome, outcomeOf, settled } from '#common/errors/outcome.ts';

const failure = new KeyweaveError('QKD_UNAVAILABLE', 'no link');
const other = new KeyweaveError('TIMEOUT', 'late');
const throwing = (thrown: unknown) => () => {
  throw thrown;
};

describe('an outcome', () => {
  it('is sound unless it is a KeyweaveError, whatever else it is', () => {
    for (const sound of [1, 0, '', undefined, null, new Error('a result like others')]) {
      assert.equal(isSound(sound as Outcome<unknown>), true);
    }
    assert.equal(isSound(failure), false);
  });

  it('of some work is what it gives, or the failure that it throws', async () => {
    assert.equal(
      outcomeOf(() => 7),
      7,
    );
    assert.equal(outcomeOf(throwing(failure)), failure);
    assert.equal(await settled(async () => 7), 7);
    assert.equal(await settled(async () => throwing(failure)()), failure);
    assert.equal(await settled(() => Promise.reject(failure)), failure);
    assert.equal(await settled(throwing(failure)), failure, 'thrown before there is a promise');
  });

  it('hides a fault that nobody has foreseen behind INTERNAL', async () => {
    const fault = new TypeError('what?');
    for (const outcome of [outcomeOf(throwing(fault)), await settled(throwing(fault))]) {
      assert.ok(isReason(outcome, 'INTERNAL'));
      assert.equal((outcome as unknown as KeyweaveError).cause, fault);
    }
  });
});

describe('mapSound', () => {
  it('takes what is sound a step further, each with its place; failures stay where they are', () => {
    const places: number[] = [];
    const mapped = mapSound([1, failure, 3, 4], (one: number, i) => {
      places.push(i);
      if (one === 3) throw other;
      return `${one}`;
    });
    assert.deepEqual(mapped, ['1', failure, other, '4']);
    assert.deepEqual(places, [0, 2, 3]);
  });
});

describe('mapTogether', () => {
  it('takes all that are sound together, and puts each outcome in the place of its own', async () => {
    const asked: number[][] = [];
    const mapped = await mapTogether([failure, 1, 2, failure, 3], async (sound: number[]) => {
      asked.push(sound);
      return ['1', other, '3'];
    });
    assert.deepEqual([mapped, asked], [[failure, '1', other, failure, '3'], [[1, 2, 3]]]);
  });

  it('asks nothing where nothing is sound', async () => {
    const never = () => Promise.reject(new Error('asked'));
    assert.deepEqual(await mapTogether([failure, other], never), [failure, other]);
    assert.deepEqual(await mapTogether([], never), []);
  });

  it('fails all of them where the step fails as a whole, and keeps older failures', async () => {
    assert.deepEqual(await mapTogether([1, failure, 3], () => Promise.reject(other)), [
      other,
      failure,
      other,
    ]);
    assert.deepEqual(await mapTogether([1, failure], throwing(other)), [other, failure]);
  });

  it('fails those that the step has not answered for, in words', async () => {
    const [first, second] = await mapTogether([1, 2], async () => ['1']);
    assert.equal(first, '1');
    assert.match(String(second), /INTERNAL: a step has answered for too few/);
  });
});
