import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { findKemAlgorithm, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { available } from '#test/helpers/engines.ts';
import type { KemEngine, PrivateKeyBatch } from './kem-engine.ts';
import { OpensslPrivateKeys } from './openssl.ts';
import { PackedPrivateKeys } from './packed-private-keys.ts';

interface Vectors {
  keyPairs: { tcId: number; seed: string; ek: string; dk: string }[];
  decapsulations: {
    seed: string;
    dk: string;
    ciphertexts: { tcId: number; comment?: string; flags?: string[]; c: string; K: string }[];
  }[];
  malformedKeys: { tcId: number; ek: string }[];
}

const FILE = new URL('../../../test/vectors/ml-kem-wycheproof.json', import.meta.url);
const parameterSets = Object.entries(
  (JSON.parse(readFileSync(FILE, 'utf8')) as { parameterSets: Record<string, Vectors> }).parameterSets,
);
assert.equal(parameterSets.length, 3, 'the vectors are not what this test expects');

/** OpenSSL takes the seed d || z of FIPS 203, 7.1, liboqs what becomes of it. */
function privateKeysFor(
  engine: KemEngine,
  algorithm: KemAlgorithm,
  seed: string,
  dk: string,
): PrivateKeyBatch {
  return engine.name === 'openssl'
    ? new OpensslPrivateKeys([keyOfSeed(algorithm, seed)])
    : new PackedPrivateKeys(engine.name, Buffer.from(dk, 'hex'), 1);
}

function keyOfSeed(algorithm: KemAlgorithm, seed: string) {
  return createPrivateKey({
    key: Buffer.from(seed, 'hex'),
    format: 'raw-seed',
    asymmetricKeyType: algorithm.name.toLowerCase(),
  } as never);
}

after(() => Promise.all(available.engines.map((engine) => engine.close())));

for (const [name, { keyPairs, decapsulations, malformedKeys }] of parameterSets) {
  const algorithm = findKemAlgorithm(name) as KemAlgorithm;
  assert.ok(keyPairs.length > 0 && decapsulations.length > 1 && malformedKeys.length > 2);

  describe(`${name} by Wycheproof`, () => {
    for (const { tcId, seed, ek } of keyPairs) {
      it(`public key ${tcId} from its seed`, () => {
        const publicKey = createPublicKey(keyOfSeed(algorithm, seed));
        const raw = publicKey.export({ format: 'raw-public' } as never) as unknown as Buffer;
        assert.equal(raw.toString('hex'), ek);
      });
    }

    for (const engine of available.engines) {
      for (const { tcId, seed, ek, dk } of keyPairs) {
        it(`${engine.name} works with key pair ${tcId}`, async () => {
          const made = await engine.encapsulate(algorithm, Buffer.from(ek, 'hex'));
          const keys = privateKeysFor(engine, algorithm, seed, dk);
          assert.deepEqual(await engine.decapsulate(algorithm, keys, made.ciphertexts), made.sharedSecrets);
        });
      }

      for (const { seed, dk, ciphertexts } of decapsulations) {
        for (const { tcId, c, K, flags, comment } of ciphertexts) {
          it(`${engine.name} decapsulates ${tcId}: ${flags?.join() ?? ''} ${comment ?? ''}`, async () => {
            const keys = privateKeysFor(engine, algorithm, seed, dk);
            const secret = await engine.decapsulate(algorithm, keys, Buffer.from(c, 'hex'));
            assert.equal(secret.toString('hex'), K);
          });
        }
      }

      for (const { tcId, ek } of malformedKeys) {
        it(`${engine.name} refuses encapsulation key ${tcId}, which is not reduced`, async () => {
          await assert.rejects(engine.encapsulate(algorithm, Buffer.from(ek, 'hex')), (error) =>
            isReason(error, 'AGREEMENT_FAILED'),
          );
        });
      }
    }
  });
}
