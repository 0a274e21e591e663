import { digestPacked, wipe } from '#common/crypto/bytes.ts';
import { isSound, mapTogether, type Outcome } from '#common/errors/outcome.ts';
import { failpoint } from '#common/service/failpoint.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import type { Clock } from '#common/time/clock.ts';
import type { DeriveBatch, SlotSecrets } from '#gen/keyweave/v1/hybridizer.ts';
import type { DerivedKeys } from '../clients/hybridizer-client.ts';
import { isLeftOut, leftOutMask } from '../streams/policy/lacking.ts';
import { degradedSlotOf } from './batch.ts';
import type { RoundTools } from './round-tools.ts';
import type { BatchInputs, SlotContribution } from './slot-inputs.ts';

const NOTHING = Buffer.alloc(0);

/** Some 0.2 ms of work. */
const DIGESTS_A_TURN = 64;

/**
 * Derives the keys of several batches together; what failed before stays
 * failed. Wipes the secrets of the inputs whatever happens; the caller owns the
 * keys that come out. Never rejects.
 */
export async function deriveTogether(
  { hybridizer, clock }: Pick<RoundTools, 'hybridizer' | 'clock'>,
  inputs: readonly Outcome<BatchInputs>[],
): Promise<Outcome<DerivedKeys>[]> {
  try {
    return await mapTogether(inputs, async (sound) => {
      await failpoint('gateway.derive');
      const digests = new Digests(clock);
      const requests: DeriveBatch[] = [];
      for (const input of sound) requests.push(await deriveRequest(input, digests));
      return hybridizer.derive(requests);
    });
  } finally {
    for (const { slots } of inputs.filter(isSound)) wipe(...slots.map((slot) => slot.secrets));
  }
}

async function deriveRequest(
  { stream, first, count, slots, qkd, standIn, leftOut }: BatchInputs,
  digests: Digests,
): Promise<DeriveBatch> {
  const { terms } = stream;
  const secretsOf: SlotSecrets[] = [];
  for (const [i, slot] of terms.slots.entries()) {
    if (isLeftOut(slot, leftOut)) continue;
    const { secrets, publicKeys = NOTHING, ciphertexts = NOTHING } = slots[i] as SlotContribution;
    secretsOf.push({
      slot,
      secrets,
      secretBytes: slot.sharedSecretBytes,
      publicKeyDigests: await digests.of(publicKeys, slot.publicKeyBytes),
      ciphertextDigests: await digests.of(ciphertexts, slot.ciphertextBytes),
    });
  }
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
      ...(leftOut && { leftOut: leftOutMask(terms, leftOut) }),
    },
    slots: secretsOf,
  };
}

/**
 * SHA-256 of public keys and ciphertexts, a few at a time: those of a large
 * round would hold the event loop for milliseconds, and with it every key that
 * is ready.
 */
class Digests {
  readonly #clock: Pick<Clock, 'soon'>;
  #left = DIGESTS_A_TURN;

  constructor(clock: Pick<Clock, 'soon'>) {
    this.#clock = clock;
  }

  async of(packed: Uint8Array, itemBytes: number): Promise<Uint8Array> {
    const count = packed.length === 0 ? 0 : packed.length / itemBytes;
    if (count <= this.#left) {
      this.#left -= count;
      return digestPacked(packed, itemBytes);
    }
    const parts: Buffer[] = [];
    for (let at = 0; at < count; ) {
      if (this.#left === 0) await this.#turn();
      const some = Math.min(this.#left, count - at);
      parts.push(digestPacked(packed.subarray(at * itemBytes, (at + some) * itemBytes), itemBytes));
      this.#left -= some;
      at += some;
    }
    return Buffer.concat(parts);
  }

  #turn(): Promise<void> {
    this.#left = DIGESTS_A_TURN;
    return new Promise((resolve) => {
      this.#clock.soon(resolve);
    });
  }
}
