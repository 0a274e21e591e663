import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemRandom } from '#common/crypto/random.ts';

const MANY = 256;

describe("the machine's generator", () => {
  const { uuid, bytes } = systemRandom;

  it('gives UUIDs v4 in canonical form, no two alike', () => {
    const made = Array.from({ length: MANY }, () => uuid());
    for (const one of made)
      assert.match(one, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(new Set(made).size, MANY);
  });

  it('gives as many bytes as it is asked for, no two lots alike', () => {
    for (const count of [0, 1, 8, 16, 1_000]) assert.equal(bytes(count).length, count);
    const made = Array.from({ length: MANY }, () => bytes(16).toString('hex'));
    assert.equal(new Set(made).size, MANY);
  });

  it('gives every value of a byte', () => {
    assert.equal(new Set(bytes(65_536)).size, 256);
  });

  it('is nobody to change', () => {
    assert.throws(() => Object.assign(systemRandom, { uuid: () => 'known' }), TypeError);
  });
});
