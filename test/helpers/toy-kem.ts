import { KEM_ALGORITHMS, type KemAlgorithm } from '#common/catalogue/kems.ts';
import type { KemEngine, PrivateKeyBatch } from '../../services/pqc-source/engines/kem-engine.ts';

/** What of an engine a test watches or spoils. */
export type ToyChange = Partial<Pick<KemEngine, 'decapsulate' | 'supports' | 'selfTest' | 'name'>>;

/**
 * An engine whose operations are quick and in the hands of the test: the
 * secret of a ciphertext is its first bytes. It has all KEMs.
 */
export function toyKem(change: ToyChange = {}) {
  const calls: string[] = [];
  const secrets: Buffer[] = [];
  let wiped = 0;
  let closed = 0;
  const privateKeys = (count: number): PrivateKeyBatch => ({
    count,
    wipe: () => {
      wiped += 1;
    },
  });
  /** Secrets that must be wiped by whoever has asked for them. */
  const secretsOf = ({ ciphertextBytes, sharedSecretBytes }: KemAlgorithm, ciphertexts: Uint8Array) => {
    const count = ciphertexts.length / ciphertextBytes;
    const secret = Buffer.concat(
      Array.from({ length: count }, (_, i) =>
        ciphertexts.subarray(i * ciphertextBytes, i * ciphertextBytes + sharedSecretBytes),
      ),
    );
    secrets.push(secret);
    return secret;
  };
  const engine: KemEngine = {
    name: 'openssl',
    supports: () => true,
    generateKeyPairs: async (algorithm, count) => {
      calls.push(`generate ${count}`);
      return {
        publicKeys: Buffer.alloc(count * algorithm.publicKeyBytes, 1),
        privateKeys: privateKeys(count),
      };
    },
    encapsulate: async (algorithm, publicKeys) => {
      const count = publicKeys.length / algorithm.publicKeyBytes;
      calls.push(`encapsulate ${count}`);
      const ciphertexts = Buffer.alloc(count * algorithm.ciphertextBytes, 9);
      return { ciphertexts, sharedSecrets: secretsOf(algorithm, ciphertexts) };
    },
    decapsulate: async (algorithm, _privateKeys, ciphertexts) => {
      calls.push(`decapsulate ${ciphertexts.length / algorithm.ciphertextBytes}`);
      return secretsOf(algorithm, ciphertexts);
    },
    selfTest: async () => undefined,
    close: async () => {
      closed += 1;
    },
    ...change,
  };
  return {
    engine,
    calls,
    /** Everything that was given out as a secret. */
    secrets,
    counts: () => ({ wiped, closed }),
  };
}

export const algorithmOf = (cost: KemAlgorithm['cost']): KemAlgorithm =>
  KEM_ALGORITHMS.find((row) => row.cost === cost) as KemAlgorithm;
