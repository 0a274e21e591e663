import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEM_ALGORITHMS, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { packedItem } from '#common/crypto/bytes.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { KemEngine } from '../../services/pqc-source/engines/kem-engine.ts';

/**
 * What every KEM engine must do. `unsupported` names the algorithms that it
 * is known to lack: those must be refused, all others must work.
 */
export function kemEngineContract(engine: KemEngine, unsupported: ReadonlySet<string>): void {
  describe(`engine ${engine.name}`, () => {
    it('passes its self-test', () => engine.selfTest());

    for (const algorithm of KEM_ALGORITHMS) {
      if (unsupported.has(algorithm.name)) {
        it(`refuses ${algorithm.name} by name`, async () => {
          assert.equal(engine.supports(algorithm), false);
          await assert.rejects(engine.generateKeyPairs(algorithm, 1), (error) =>
            isReason(error, 'UNSUPPORTED'),
          );
        });
      } else {
        it(`agrees on ${algorithm.name}, in the sizes of the table`, () => agree(engine, algorithm));
      }
    }
  });
}

async function agree(engine: KemEngine, algorithm: KemAlgorithm): Promise<void> {
  assert.equal(engine.supports(algorithm), true);
  const count = algorithm.cost === 'heavy' ? 1 : 3;
  const { publicKeys, privateKeys } = await engine.generateKeyPairs(algorithm, count);
  assert.equal(publicKeys.length, count * algorithm.publicKeyBytes);
  const before = Buffer.from(publicKeys);
  const { ciphertexts, sharedSecrets } = await engine.encapsulate(algorithm, publicKeys);
  assert.equal(ciphertexts.length, count * algorithm.ciphertextBytes);
  assert.equal(sharedSecrets.length, count * algorithm.sharedSecretBytes);
  assert.deepEqual(publicKeys, before, 'an input was changed');
  for (const bytes of [publicKeys, ciphertexts, sharedSecrets])
    assert.equal(bytes.buffer.byteLength, bytes.length, 'something else shares its memory');
  const tampered = Buffer.from(ciphertexts);
  const last = (count - 1) * algorithm.ciphertextBytes;
  tampered[last] = (tampered[last] as number) ^ 0x55;
  const opened = await engine.decapsulate(algorithm, privateKeys, ciphertexts);
  assert.deepEqual(opened, sharedSecrets);
  assert.equal(opened.buffer.byteLength, opened.length, 'something else shares its memory');
  const secretOf = (secrets: Buffer, i: number) => packedItem(secrets, i, algorithm.sharedSecretBytes);
  const wrong = await engine.decapsulate(algorithm, privateKeys, tampered).catch(() => undefined);
  if (wrong) assert.notDeepEqual(secretOf(wrong, count - 1), secretOf(sharedSecrets, count - 1));
  assert.ok(opened.some((byte) => byte !== 0));
}
