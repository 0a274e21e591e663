import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { termsOf } from '#test/helpers/streams.ts';
import { STAND_IN, slotOf, standInFor } from '../stream-terms.ts';
import { bothLet, kindOfMask, leftOutMask, mayBe, sourcesOf, sourcesWithout } from './lacking.ts';

const MIXED = termsOf('hkdf-sha384', ['QKD', 'ML-KEM-512', 'QKD', 'HQC-128']);
const stoodIn = () => {
  const terms = termsOf('xoring', ['QKD', 'QKD']);
  return { ...terms, slots: [slotOf('QKD'), standInFor(slotOf('QKD'))] };
};

describe('slots that are left out', () => {
  it('are named by a bit each, all of a kind or none', () => {
    assert.deepEqual([leftOutMask(MIXED, 'qkd'), leftOutMask(MIXED, 'pqc')], [0b0101, 0b1010]);
    assert.equal(leftOutMask(MIXED, undefined), 0);
    for (const [mask, kind] of [
      [0b0101, 'qkd'],
      [0b1010, 'pqc'],
    ] as const)
      assert.equal(kindOfMask(MIXED, mask), kind);
    for (const wrong of [0, 1, 0b10, 0b0100, 0b1111, 0b10101, 0xffffffff])
      assert.equal(kindOfMask(MIXED, wrong), undefined, `${wrong}`);
    assert.equal(kindOfMask(termsOf('hkdf-sha384', ['QKD']), 2), undefined);
  });

  it('leave what still makes a key, or may not be left out', () => {
    assert.deepEqual(sourcesWithout(MIXED, 'qkd'), ['ML-KEM-512', 'HQC-128']);
    assert.deepEqual(sourcesWithout(MIXED, 'pqc'), ['QKD', 'QKD']);
    const of = (method: string, sources: string[]) =>
      (['qkd', 'pqc'] as const).map((kind) => sourcesWithout(termsOf(method, sources), kind));
    assert.deepEqual(of('hkdf-sha384', ['QKD']), [undefined, undefined]);
    assert.deepEqual(of('hkdf-sha384', ['ML-KEM-512', 'ML-KEM-512']), [undefined, undefined]);
    for (const method of ['xoring', 'hmac', 'xorhmac']) {
      assert.deepEqual(of(method, ['QKD', 'ML-KEM-512']), [undefined, undefined], 'one secret is none');
      assert.deepEqual(of(method, ['QKD', 'ML-KEM-512', 'QKD']), [undefined, ['QKD', 'QKD']]);
    }
    assert.deepEqual(
      [sourcesWithout(stoodIn(), 'qkd'), sourcesWithout(stoodIn(), 'pqc')],
      [undefined, undefined],
    );
  });

  it('are not among what went into a chunk', () => {
    assert.deepEqual(sourcesOf(MIXED, false), ['QKD', 'ML-KEM-512', 'QKD', 'HQC-128']);
    assert.deepEqual(sourcesOf(MIXED, 'qkd'), ['ML-KEM-512', 'HQC-128']);
    assert.deepEqual(sourcesOf(MIXED, 'pqc'), ['QKD', 'QKD']);
    const two = termsOf('hkdf-sha384', ['ML-KEM-512', 'QKD']);
    assert.deepEqual(sourcesOf(two, 'shared_seed'), ['ML-KEM-512', STAND_IN]);
    assert.deepEqual(sourcesOf(stoodIn(), 'shared_seed'), ['QKD', STAND_IN]);
  });

  it('are what both let be', () => {
    const any = { qkd: true, pqc: true };
    assert.deepEqual(bothLet(any, { qkd: false, pqc: true }), { qkd: false, pqc: true });
    assert.deepEqual(bothLet({ qkd: true, pqc: false }, { qkd: false, pqc: true }), {
      qkd: false,
      pqc: false,
    });
    const leeway = { standIn: false, mayLack: { qkd: true, pqc: false } };
    assert.deepEqual(
      ([false, 'qkd', 'pqc', 'shared_seed'] as const).map((degraded) => mayBe(degraded, leeway)),
      [true, true, false, false],
    );
  });
});
