import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  decapsulate as opensslDecapsulate,
  encapsulate as opensslEncapsulate,
} from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { findKemAlgorithm, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { asBuffer, ownMemory, packedItem } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { KemEngine, PrivateKeyBatch } from './kem-engine.ts';
import { roundTrip } from './round-trip.ts';

/** OpenSSL's names of the ML-KEM parameter sets (FIPS 203). */
const KEY_TYPES: Readonly<Record<string, 'ml-kem-512' | 'ml-kem-768' | 'ml-kem-1024'>> = {
  'ML-KEM-512': 'ml-kem-512',
  'ML-KEM-768': 'ml-kem-768',
  'ML-KEM-1024': 'ml-kem-1024',
};

/** About 50 µs each: this many stay well below 5 ms of the event loop. */
const OPERATIONS_PER_TURN = 32;

/** Private keys inside OpenSSL, which wipes them when they are freed. */
export class OpensslPrivateKeys implements PrivateKeyBatch {
  keys: KeyObject[];
  readonly count: number;

  constructor(keys: KeyObject[]) {
    this.keys = keys;
    this.count = keys.length;
  }

  wipe(): void {
    this.keys = [];
  }
}

/** ML-KEM by the OpenSSL that is built into Node. */
export function createOpensslEngine(): KemEngine {
  const engine: KemEngine = {
    name: 'openssl',
    supports: (algorithm) => KEY_TYPES[algorithm.name] !== undefined,

    async generateKeyPairs(algorithm, count) {
      const type = typeOf(algorithm);
      const publicKeys = Buffer.allocUnsafeSlow(count * algorithm.publicKeyBytes);
      const keys: KeyObject[] = [];
      for (let i = 0; i < count; i++) {
        if (i > 0 && i % OPERATIONS_PER_TURN === 0) await nextTurn();
        const pair = generateKeyPairSync(type as 'ml-kem-768');
        rawPublic(pair.publicKey).copy(publicKeys, i * algorithm.publicKeyBytes);
        keys.push(pair.privateKey);
      }
      return { publicKeys, privateKeys: new OpensslPrivateKeys(keys) };
    },

    async encapsulate(algorithm, publicKeys) {
      const type = typeOf(algorithm);
      const count = publicKeys.length / algorithm.publicKeyBytes;
      const ciphertexts = Buffer.allocUnsafeSlow(count * algorithm.ciphertextBytes);
      const sharedSecrets = ownMemory(count * algorithm.sharedSecretBytes);
      for (let i = 0; i < count; i++) {
        if (i > 0 && i % OPERATIONS_PER_TURN === 0) await nextTurn();
        const key = importPublic(type, packedItem(asBuffer(publicKeys), i, algorithm.publicKeyBytes));
        const { ciphertext, sharedKey } = opensslEncapsulate(key);
        ciphertext.copy(ciphertexts, i * algorithm.ciphertextBytes);
        sharedKey.copy(sharedSecrets, i * algorithm.sharedSecretBytes);
        sharedKey.fill(0);
      }
      return { ciphertexts, sharedSecrets };
    },

    async decapsulate(algorithm, privateKeys, ciphertexts) {
      typeOf(algorithm);
      if (!(privateKeys instanceof OpensslPrivateKeys)) throw failed();
      const count = ciphertexts.length / algorithm.ciphertextBytes;
      const sharedSecrets = ownMemory(count * algorithm.sharedSecretBytes);
      for (let i = 0; i < count; i++) {
        if (i > 0 && i % OPERATIONS_PER_TURN === 0) await nextTurn();
        const key = privateKeys.keys[i];
        if (!key) throw failed();
        const secret = opensslDecapsulate(key, packedItem(ciphertexts, i, algorithm.ciphertextBytes));
        secret.copy(sharedSecrets, i * algorithm.sharedSecretBytes);
        secret.fill(0);
      }
      return sharedSecrets;
    },

    async selfTest() {
      for (const name of Object.keys(KEY_TYPES))
        await roundTrip(engine, findKemAlgorithm(name) as KemAlgorithm);
    },

    close: async () => undefined,
  };
  return engine;
}

function typeOf(algorithm: KemAlgorithm) {
  const type = KEY_TYPES[algorithm.name];
  if (!type) throw new KeyweaveError('UNSUPPORTED', `OpenSSL does not have ${algorithm.name}`);
  return type;
}

function rawPublic(key: KeyObject): Buffer {
  return key.export({ format: 'raw-public' } as never) as unknown as Buffer;
}

function importPublic(type: string, bytes: Buffer): KeyObject {
  try {
    return createPublicKey({ key: bytes, format: 'raw-public', asymmetricKeyType: type } as never);
  } catch (cause) {
    throw new KeyweaveError('AGREEMENT_FAILED', 'key encapsulation failed', { cause });
  }
}

function failed(): KeyweaveError {
  return new KeyweaveError('AGREEMENT_FAILED', 'key encapsulation failed');
}
