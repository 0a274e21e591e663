import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { available, nativeMissing } from '#test/helpers/engines.ts';

const { engines } = available;
after(() => Promise.all(engines.map((engine) => engine.close())));

describe('engines agree: key pairs of one, ciphertexts of another', () => {
  let pairs = 0;
  for (const algorithm of KEM_ALGORITHMS) {
    const capable = engines.filter((engine) => engine.supports(algorithm));
    for (const maker of capable) {
      for (const other of capable.filter((engine) => engine !== maker)) {
        pairs += 1;
        it(`${algorithm.name}: keys of ${maker.name}, ciphertexts of ${other.name}`, async () => {
          const count = algorithm.cost === 'heavy' ? 1 : 2;
          const { publicKeys, privateKeys } = await maker.generateKeyPairs(algorithm, count);
          const { ciphertexts, sharedSecrets } = await other.encapsulate(algorithm, publicKeys);
          assert.deepEqual(await maker.decapsulate(algorithm, privateKeys, ciphertexts), sharedSecrets);
        });
      }
    }
  }

  // Three engines have ML-KEM, two the 23 others; without native code only ML-KEM has two.
  it('for every algorithm that two engines have', () =>
    assert.equal(pairs, nativeMissing ? 6 : 3 * 6 + 23 * 2));
});
