import { hkdfSync } from 'node:crypto';
import { ownMemory } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import type { SharedSeeds } from '../clients/shared-seeds.ts';
import type { Batch } from './batch.ts';

/**
 * Stand-in secrets for a slot that is missing at both ends, or that the URI
 * does not name: as in the reference they come from the seed agreed beforehand,
 * and here they differ by stream, its incarnation, slot and index. The caller
 * wipes them.
 *
 * @throws KeyweaveError AGREEMENT_FAILED without a seed.
 */
export function standInSecrets(
  seeds: SharedSeeds,
  { stream, first, count }: Pick<Batch, 'stream' | 'first' | 'count'>,
  slot: number,
): Buffer {
  const { farNode } = stream.route;
  const seed = seeds.of(farNode)?.expose();
  if (seed === undefined || seed.length === 0) {
    throw new KeyweaveError('AGREEMENT_FAILED', `there is no shared_seed for node ${farNode}`);
  }
  const { sharedSecretBytes: bytes } = stream.terms.slots[slot] as SourceSlot;
  const secrets = ownMemory(count * bytes);
  const info = Buffer.alloc(32);
  stream.idBytes.copy(info);
  stream.incarnation.copy(info, 16);
  info.writeUInt32BE(slot, 24);
  for (let i = 0; i < count; i++) {
    info.writeUInt32BE(first + i, 28);
    const secret = Buffer.from(hkdfSync('sha256', seed, 'keyweave v1 shared_seed', info, bytes));
    secret.copy(secrets, i * bytes);
    secret.fill(0);
  }
  return secrets;
}
