import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findKemAlgorithm, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { decapsulateJoined, joinKeyPairs } from './joined-key-pairs.ts';
import { createOpensslEngine } from './openssl.ts';

const ML_KEM = findKemAlgorithm('ML-KEM-768') as KemAlgorithm;
const engine = createOpensslEngine();

describe('joined key pairs', () => {
  for (const used of [1, 3, 4]) {
    it(`open ${used} of 4 ciphertexts, into memory of exactly their size`, async () => {
      const batches = [];
      for (const count of [1, 2, 1]) batches.push(await engine.generateKeyPairs(ML_KEM, count));
      const { publicKeys, privateKeys } = joinKeyPairs(batches);
      const { ciphertexts, sharedSecrets } = await engine.encapsulate(ML_KEM, publicKeys);
      const some = ciphertexts.subarray(0, used * ML_KEM.ciphertextBytes);
      const opened = await decapsulateJoined(engine, ML_KEM, privateKeys, some);
      assert.deepEqual(opened, sharedSecrets.subarray(0, used * ML_KEM.sharedSecretBytes));
      assert.equal(opened.buffer.byteLength, opened.length);
    });
  }
});
