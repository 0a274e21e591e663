import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import { wipe } from '#common/crypto/bytes.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { SharedSeeds } from '../clients/shared-seeds.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { isLeftOut, type SourceKind } from '../streams/policy/lacking.ts';
import { isQkd } from '../streams/stream-terms.ts';
import type { Batch } from './batch.ts';
import { standInSecrets } from './stand-in.ts';

const NO_SECRETS = Buffer.alloc(0);

/** What one slot contributes to a batch; `secrets` are wiped once derived. */
export interface SlotContribution {
  readonly secrets: Uint8Array;
  /** Public keys and ciphertexts, end to end; absent for QKD. */
  readonly publicKeys?: Uint8Array;
  readonly ciphertexts?: Uint8Array;
}

/** Everything that goes into the keys of a batch, the same at both ends. */
export interface BatchInputs {
  readonly stream: KeyStream;
  readonly first: number;
  readonly count: number;
  /** In the agreed order of slots, `count` items each. */
  readonly slots: readonly SlotContribution[];
  readonly qkd: QkdReference | undefined;
  /** Slot that a shared_seed stands in for; undefined = none. */
  readonly standIn: number | undefined;
  /** Kind of sources that is left out: of its slots nothing is in `slots` but their places; absent = none. */
  readonly leftOut?: SourceKind | undefined;
}

/** What the two ends have of a batch before its slots are put together. */
export interface BatchMaterial {
  /** `count` may be less than was offered. */
  readonly batch: Omit<Batch, 'producer'>;
  /** Secrets, public keys and ciphertexts of a slot that is a KEM's, `count` items each. */
  kem(slot: number): Required<SlotContribution>;
  /** Those of the QKD slots, one slot after the other, and what is left of the last block; taken over. */
  readonly qkdKeys: Buffer;
}

/**
 * Puts the slots of a batch in their order. Whatever of the QKD keys is not
 * needed is wiped at once, and all of them where it fails.
 *
 * @throws KeyweaveError AGREEMENT_FAILED where a seed is missing.
 */
export function slotInputs(seeds: SharedSeeds, { batch, kem, qkdKeys }: BatchMaterial): BatchInputs {
  const { stream, first, count, qkd, standIn, leftOut } = batch;
  const slotBytes = count * QKD_SECRET_BYTES;
  let used = 0;
  try {
    const slots = stream.terms.slots.map((slot, i): SlotContribution => {
      if (i === standIn) return { secrets: standInSecrets(seeds, batch, i) };
      if (isLeftOut(slot, leftOut)) return { secrets: NO_SECRETS };
      if (!isQkd(slot)) return kem(i);
      const secrets = qkdKeys.subarray(used, used + slotBytes);
      used += slotBytes;
      return { secrets };
    });
    qkdKeys.fill(0, used);
    return { stream, first, count, slots, qkd, standIn, ...(leftOut && { leftOut }) };
  } catch (thrown) {
    wipe(qkdKeys);
    throw thrown;
  }
}
