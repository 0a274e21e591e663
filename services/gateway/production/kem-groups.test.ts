import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { slotOf } from '../streams/stream-terms.ts';
import { KemGroups, shareOf } from './kem-groups.ts';

describe('KemGroups', () => {
  for (const { name, publicKeyBytes, ciphertextBytes } of KEM_ALGORITHMS) {
    it(`${name}: no call has more than pqc-source takes and one message holds`, () => {
      const groups = new KemGroups();
      for (let i = 0; i < 2_000; i++) groups.add(slotOf(name), 1);
      for (const { count } of groups.groups) {
        assert.ok(count <= MESSAGE_LIMITS.kemItems.taken);
        assert.ok(count === 1 || count * publicKeyBytes <= MESSAGE_LIMITS.kemBytes.taken);
        assert.ok(count === 1 || count * ciphertextBytes <= MESSAGE_LIMITS.kemBytes.taken);
      }
      assert.equal(
        groups.groups.reduce((sum, { count }) => sum + count, 0),
        2_000,
      );
    });
  }

  it('keeps calls of slow KEMs short', () => {
    for (const [name, most] of [
      ['ML-KEM-512', 1024],
      ['HQC-128', 32],
      ['Classic-McEliece-348864', 4],
    ] as const) {
      const groups = new KemGroups();
      for (let i = 0; i < most; i++) groups.add(slotOf(name), 1);
      groups.add(slotOf(name), 1);
      assert.deepEqual(
        groups.groups.map(({ count }) => count),
        [most, 1],
        name,
      );
    }
  });

  it('puts batches of one algorithm together and finds each one its part again', () => {
    const groups = new KemGroups();
    const first = groups.add(slotOf('ML-KEM-768'), 2);
    const other = groups.add(slotOf('ML-KEM-512'), 1);
    const second = groups.add(slotOf('ML-KEM-768'), 3);
    assert.equal(groups.groups.length, 2);
    assert.equal(first.group, second.group);
    assert.notEqual(first.group, other.group);
    const packed = Buffer.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual([...shareOf(packed, first, 2)], [0, 1, 2, 3]);
    assert.deepEqual([...shareOf(packed, second, 2)], [4, 5, 6, 7, 8, 9]);
  });
});
