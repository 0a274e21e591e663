import type { KemAlgorithm } from '#common/catalogue/kems.ts';
import { ownCopy, wipe } from '#common/crypto/bytes.ts';
import type { KemEngine, KeyPairs, PrivateKeyBatch } from './kem-engine.ts';

/** Private keys of several batches of one engine, as one batch. */
class JoinedPrivateKeys implements PrivateKeyBatch {
  readonly parts: readonly PrivateKeyBatch[];
  readonly count: number;

  constructor(parts: readonly PrivateKeyBatch[]) {
    this.parts = parts;
    this.count = parts.reduce((sum, part) => sum + part.count, 0);
  }

  wipe(): void {
    for (const part of this.parts) part.wipe();
  }
}

/** One batch out of several of the same algorithm and engine; owns their private keys. */
export function joinKeyPairs(batches: readonly KeyPairs[]): KeyPairs {
  if (batches.length === 1) return batches[0] as KeyPairs;
  return {
    publicKeys: Buffer.concat(batches.map((batch) => batch.publicKeys)),
    privateKeys: new JoinedPrivateKeys(batches.map((batch) => batch.privateKeys)),
  };
}

/** KemEngine.decapsulate for keys that may be joined. The caller wipes the secrets. */
export async function decapsulateJoined(
  engine: KemEngine,
  algorithm: KemAlgorithm,
  privateKeys: PrivateKeyBatch,
  ciphertexts: Buffer,
): Promise<Buffer> {
  if (!(privateKeys instanceof JoinedPrivateKeys))
    return engine.decapsulate(algorithm, privateKeys, ciphertexts);
  const opening: Promise<Buffer>[] = [];
  let next = 0;
  for (const part of privateKeys.parts) {
    const own = ciphertexts.subarray(next, next + part.count * algorithm.ciphertextBytes);
    if (own.length === 0) break;
    opening.push(engine.decapsulate(algorithm, part, own));
    next += own.length;
  }
  const settled = await Promise.allSettled(opening);
  const secrets = settled.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  try {
    const failed = settled.find((outcome) => outcome.status === 'rejected');
    if (failed) throw failed.reason;
    return ownCopy(...secrets);
  } finally {
    wipe(...secrets);
  }
}
