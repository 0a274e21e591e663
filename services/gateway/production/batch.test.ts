import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IdleProducer, keyStream, termsOf } from '#test/helpers/streams.ts';
import { slotOf, standInFor } from '../streams/stream-terms.ts';
import { type Batch, degradedSlotOf, shareKems, standInOf } from './batch.ts';
import { KemGroups } from './kem-groups.ts';

/** A batch of a stream of these sources, of which a shared_seed stands in for one. */
function batchOf(keySources: readonly string[], standIn?: number, namesStandIn = false): Batch {
  const terms = termsOf('hkdf-sha384', keySources);
  const slots = namesStandIn ? [...terms.slots, standInFor(slotOf('QKD'))] : terms.slots;
  const stream = keyStream({ terms: { ...terms, slots } });
  return { producer: new IdleProducer(), stream, first: 5, count: 3, qkd: undefined, standIn };
}

describe('the stand-in of a batch', () => {
  it('is a slot here, and the slot plus one in messages, where 0 is none', () => {
    for (const [degradedSlot, standIn] of [
      [0, undefined],
      [1, 0],
      [2, 1],
      [16, 15],
    ] as const) {
      assert.equal(standInOf(degradedSlot), standIn);
      assert.equal(degradedSlotOf(standIn), degradedSlot);
    }
  });
});

describe('shareKems', () => {
  it('puts the slots of one KEM together, those of other batches too, each in a place of its own', () => {
    const groups = new KemGroups();
    const first = shareKems(groups, batchOf(['ML-KEM-768', 'QKD', 'ML-KEM-768']), 2);
    const second = shareKems(groups, batchOf(['ML-KEM-512', 'ML-KEM-768']), 3);
    const [large, small] = groups.groups;
    assert.deepEqual(
      groups.groups.map(({ slot, count }) => [slot.algorithm, count]),
      [
        ['ML-KEM-768', 2 + 2 + 3],
        ['ML-KEM-512', 3],
      ],
    );
    assert.deepEqual(first, [
      { group: large, offset: 0, count: 2 },
      undefined,
      { group: large, offset: 2, count: 2 },
    ]);
    assert.deepEqual(second, [
      { group: small, offset: 0, count: 3 },
      { group: large, offset: 4, count: 3 },
    ]);
  });

  it('asks no KEM for a slot that something stands in for', () => {
    const groups = new KemGroups();
    assert.deepEqual(shareKems(groups, batchOf(['ML-KEM-768', 'QKD'], 0), 2), [undefined, undefined]);
    assert.deepEqual(shareKems(groups, batchOf(['QKD'], 1, true), 2), [undefined, undefined]);
    assert.deepEqual(groups.groups, []);
    const [share, none] = shareKems(groups, batchOf(['ML-KEM-768', 'QKD'], 1), 2);
    assert.deepEqual([share?.count, none], [2, undefined]);
  });
});
