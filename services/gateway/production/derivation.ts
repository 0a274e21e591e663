import { digestPacked, wipe } from '#common/crypto/bytes.ts';
import { isSound, mapTogether, type Outcome } from '#common/errors/outcome.ts';
import { failpoint } from '#common/service/failpoint.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import type { DeriveBatch, SlotSecrets } from '#gen/keyweave/v1/hybridizer.ts';
import type { DerivedKeys, HybridizerClient } from '../clients/hybridizer-client.ts';
import { degradedSlotOf } from './batch.ts';
import type { BatchInputs, SlotContribution } from './slot-inputs.ts';

const NOTHING = Buffer.alloc(0);

/**
 * Derives the keys of several batches together; what failed before stays
 * failed. Wipes the secrets of the inputs whatever happens; the caller owns the
 * keys that come out. Never rejects.
 */
export async function deriveTogether(
  hybridizer: HybridizerClient,
  inputs: readonly Outcome<BatchInputs>[],
): Promise<Outcome<DerivedKeys>[]> {
  try {
    return await mapTogether(inputs, async (sound) => {
      await failpoint('gateway.derive');
      return hybridizer.derive(sound.map(deriveRequest));
    });
  } finally {
    for (const { slots } of inputs.filter(isSound)) wipe(...slots.map((slot) => slot.secrets));
  }
}

function deriveRequest({ stream, first, count, slots, qkd, standIn }: BatchInputs): DeriveBatch {
  const { terms } = stream;
  return {
    method: terms.method.name,
    chunkBytes: stream.qos.keyChunkSize,
    firstIndex: first,
    count,
    context: {
      protocolVersion: PROTOCOL_VERSION,
      keyStreamId: stream.idBytes,
      incarnation: stream.incarnation,
      initiatorNode: terms.sourceNode,
      responderNode: terms.destinationNode,
      source: terms.source,
      destination: terms.destination,
      qkdKeyStreamId: qkd?.qkdKeyStreamId ?? '',
      qkdEpoch: qkd?.epoch ?? 0,
      qkdPosition: qkd?.position ?? 0n,
      degradedSlot: degradedSlotOf(standIn),
    },
    slots: terms.slots.map((slot, i): SlotSecrets => {
      const { secrets, publicKeys = NOTHING, ciphertexts = NOTHING } = slots[i] as SlotContribution;
      return {
        slot,
        secrets,
        secretBytes: slot.sharedSecretBytes,
        publicKeyDigests: digestPacked(publicKeys, slot.publicKeyBytes),
        ciphertextDigests: digestPacked(ciphertexts, slot.ciphertextBytes),
      };
    }),
  };
}
