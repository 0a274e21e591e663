import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findKemAlgorithm, KEM_ALGORITHMS } from '#common/catalogue/kems.ts';

describe('the table of KEMs', () => {
  it('has the 29 of the reference', () => {
    assert.equal(KEM_ALGORITHMS.length, 29);
    const families = new Map<string, number>();
    for (const { family } of KEM_ALGORITHMS) families.set(family, (families.get(family) ?? 0) + 1);
    assert.deepEqual(Object.fromEntries(families), {
      BIKE: 3,
      'Classic McEliece': 10,
      HQC: 3,
      Kyber: 3,
      'ML-KEM': 3,
      'NTRU Prime': 1,
      FrodoKEM: 6,
    });
  });

  it('names each only once, aliases too', () => {
    const names = KEM_ALGORITHMS.flatMap((row) => [row.name, ...row.aliases]).map((name) =>
      name.toLowerCase(),
    );
    assert.equal(new Set(names).size, names.length);
  });

  it('finds a KEM by its name and aliases in any case', () => {
    for (const [asked, found] of [
      ['ml-kem-786', 'ML-KEM-768'],
      ['KYBER512', 'Kyber512'],
      ['hqc-5', 'HQC-256'],
      ['SNTRUP761', 'sntrup761'],
      ['efrodokem-976-shake', 'FrodoKEM-976-SHAKE'],
      ['classic-mceliece-8192128F', 'Classic-McEliece-8192128f'],
    ] as const)
      assert.equal(findKemAlgorithm(asked)?.name, found);
    for (const unknown of ['', 'ML-KEM', 'ML-KEM-768 ', '__proto__', 'QKD'])
      assert.equal(findKemAlgorithm(unknown), undefined);
  });

  it('is frozen, and every KEM has an engine', () => {
    for (const row of KEM_ALGORITHMS) {
      assert.ok(Object.isFrozen(row) && row.engines.length > 0);
      assert.equal(new Set(row.engines).size, row.engines.length);
    }
  });
});
