import type { KemAlgorithm, KemEngineName } from '#common/catalogue/kems.ts';

/** Private keys of one batch, each good for one decapsulation. The holder wipes them. */
export interface PrivateKeyBatch {
  readonly count: number;
  /** Zeroes what can be zeroed and forgets the rest; safe to repeat. */
  wipe(): void;
}

export interface KeyPairs {
  /** `count` public keys, end to end. */
  readonly publicKeys: Buffer;
  readonly privateKeys: PrivateKeyBatch;
}

export interface Encapsulated {
  /** Ciphertexts, end to end. */
  readonly ciphertexts: Buffer;
  /** Shared secrets, end to end; the caller wipes them. */
  readonly sharedSecrets: Buffer;
}

/**
 * A library that does KEM operations.
 *
 * Contract: batches are packed, item after item, and of the sizes in the
 * algorithm's row (the service checks them before the engine sees them); what
 * comes back lies in memory of exactly its size. No input is changed, and
 * callers leave public keys alone until the promise settles; private keys work
 * only in the engine that made them. A ciphertext that was tampered with gives
 * another secret or rejects, never the right one. Operations reject with
 * KeyweaveError UNSUPPORTED for an algorithm that the engine lacks and
 * AGREEMENT_FAILED for anything else.
 */
export interface KemEngine {
  readonly name: KemEngineName;
  supports(algorithm: KemAlgorithm): boolean;
  generateKeyPairs(algorithm: KemAlgorithm, count: number): Promise<KeyPairs>;
  encapsulate(algorithm: KemAlgorithm, publicKeys: Uint8Array): Promise<Encapsulated>;
  /** Shared secrets for the first private keys, one for each ciphertext. */
  decapsulate(
    algorithm: KemAlgorithm,
    privateKeys: PrivateKeyBatch,
    ciphertexts: Uint8Array,
  ): Promise<Buffer>;
  /** A round trip with a known outcome. @throws when the engine cannot be trusted. */
  selfTest(): Promise<void>;
  close(): Promise<void>;
}
