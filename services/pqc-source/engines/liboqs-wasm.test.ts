import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { findKemAlgorithm, type KemAlgorithm } from '#common/algorithms/kem-algorithms.ts';
import { kemEngineContract } from './kem-engine-contract.ts';
import { createLiboqsWasmEngine } from './liboqs-wasm.ts';
import { createOpensslEngine } from './openssl.ts';

const wasm = createLiboqsWasmEngine();
const openssl = createOpensslEngine();
after(() => wasm.close());

kemEngineContract(wasm, new Set(['BIKE-L1', 'BIKE-L3', 'BIKE-L5']));

describe('OpenSSL and liboqs agree on ML-KEM', () => {
  for (const name of ['ML-KEM-512', 'ML-KEM-768', 'ML-KEM-1024']) {
    const algorithm = findKemAlgorithm(name) as KemAlgorithm;
    for (const [maker, other] of [
      [openssl, wasm],
      [wasm, openssl],
    ] as const) {
      it(`${name}: keys of ${maker.name}, ciphertexts of ${other.name}`, async () => {
        const { publicKeys, privateKeys } = await maker.generateKeyPairs(algorithm, 4);
        const { ciphertexts, sharedSecrets } = await other.encapsulate(algorithm, publicKeys);
        assert.deepEqual(await maker.decapsulate(algorithm, privateKeys, ciphertexts), sharedSecrets);
      });
    }
  }
});
