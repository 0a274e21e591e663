import type { KemAlgorithm } from '#common/catalogue/kems.ts';
import { equalBytes, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { KemEngine } from './kem-engine.ts';

/**
 * Both ends of one exchange agree, and a tampered ciphertext gives a different
 * secret. @throws KeyweaveError INTERNAL otherwise.
 */
export async function roundTrip(engine: KemEngine, algorithm: KemAlgorithm): Promise<void> {
  const { publicKeys, privateKeys } = await engine.generateKeyPairs(algorithm, 1);
  const { ciphertexts, sharedSecrets } = await engine.encapsulate(algorithm, publicKeys);
  const opened = await engine.decapsulate(algorithm, privateKeys, ciphertexts);
  const tampered = Buffer.from(ciphertexts);
  tampered[0] = (tampered[0] as number) ^ 1;
  const wrong = await engine.decapsulate(algorithm, privateKeys, tampered).catch(() => Buffer.alloc(0));
  privateKeys.wipe();
  const sound = equalBytes(opened, sharedSecrets) && !equalBytes(wrong, sharedSecrets);
  wipe(opened, sharedSecrets, wrong);
  if (!sound)
    throw new KeyweaveError('INTERNAL', `engine ${engine.name} fails its self-test with ${algorithm.name}`);
}
