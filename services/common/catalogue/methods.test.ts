import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findMethod, HYBRIDIZATION_METHODS } from '#common/catalogue/methods.ts';

const sizes = (name: string, ...secretBytes: number[]) => findMethod(name)?.maxChunkBytes(secretBytes);

describe('the hybridization methods', () => {
  it('are those of the reference, HKDF over three hashes, KMAC and those of ETSI', () => {
    assert.deepEqual(
      HYBRIDIZATION_METHODS.map(({ name, compatible, ordered, minDistinctSecrets }) => [
        name,
        compatible,
        ordered,
        minDistinctSecrets,
      ]),
      [
        ['xoring', true, false, 2],
        ['hmac', true, false, 2],
        ['xorhmac', true, false, 2],
        ['hkdf-sha256', false, true, 1],
        ['hkdf-sha384', false, true, 1],
        ['hkdf-sha3-256', false, true, 1],
        ['kmac256', false, true, 1],
        ['catkdf', false, true, 1],
        ['caskdf', false, true, 1],
      ],
    );
  });

  it('are found whatever the case, and nothing else is', () => {
    assert.equal(findMethod('HKDF-SHA384')?.name, 'hkdf-sha384');
    for (const name of ['', 'xor', 'xoring ', 'constructor']) assert.equal(findMethod(name), undefined, name);
  });

  it('make chunks as long as every byte has a contribution of every secret', () => {
    assert.equal(sizes('xoring', 32, 24, 64), 24);
    assert.equal(sizes('hmac', 64, 64), 32);
    assert.equal(sizes('xorhmac', 24, 64), 32);
    // RFC 5869 clause 2.3: 255 blocks of the hash.
    assert.equal(sizes('hkdf-sha256', 32), 8160);
    assert.equal(sizes('hkdf-sha384', 32), 12_240);
    assert.equal(sizes('hkdf-sha3-256', 32), 8160);
    assert.equal(sizes('catkdf', 32), 12_240);
    // One block is the chain's.
    assert.equal(sizes('caskdf', 32), 12_192);
    // No limit of its own: as long as the longest of the others.
    assert.equal(sizes('kmac256', 32), 12_240);
  });
});
