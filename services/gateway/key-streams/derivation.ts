import { hkdfSync } from 'node:crypto';
import { digestPacked, ownCopy, ownMemory, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { failpoint } from '#common/lifecycle/failpoint.ts';
import { PROTOCOL_VERSION } from '#common/lifecycle/version.ts';
import type { DeriveBatch, DerivedBatch, SlotSecrets } from '#gen/keyweave/v1/hybridizer.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../sources/node-services.ts';
import type { KeyStream } from './key-stream.ts';

/** Bytes of one tag. */
const TAG_BYTES = 32;
const NOTHING = Buffer.alloc(0);

/** What one slot contributes to a batch; `secrets` are wiped once derived. */
export interface SlotContribution {
  readonly secrets: Buffer;
  /** Public keys and ciphertexts, end to end; absent for QKD. */
  readonly publicKeys?: Buffer;
  readonly ciphertexts?: Buffer;
}

export interface BatchInputs {
  readonly stream: KeyStream;
  readonly first: number;
  readonly count: number;
  /** In the agreed order of slots, `count` items each. */
  readonly slots: readonly SlotContribution[];
  readonly qkd: QkdReference | undefined;
  /** Slot that a shared_seed stands in for, plus one; 0 = none. */
  readonly degradedSlot: number;
}

/**
 * Has the hybridizer join several batches in one call. An entry that has
 * failed already passes through. Wipes every secret that went in, whatever
 * happens; the caller owns the keys that come out.
 */
export async function deriveTogether(
  services: NodeServices,
  inputs: readonly (BatchInputs | KeyweaveError)[],
): Promise<(DerivedBatch | KeyweaveError)[]> {
  const whole = inputs.filter((input): input is BatchInputs => !(input instanceof KeyweaveError));
  let batches: readonly DerivedBatch[] = [];
  let failure: KeyweaveError | undefined;
  try {
    if (whole.length > 0) {
      await failpoint('gateway.derive');
      const request = { batches: whole.map(deriveRequest) };
      ({ batches } = await services.hybridizer.derive(request, { timeoutMs: STEP_TIMEOUT_MS.derive }));
    }
  } catch (thrown) {
    failure = KeyweaveError.from(thrown);
  } finally {
    for (const { slots } of whole) wipe(...slots.map((slot) => slot.secrets));
  }
  let next = 0;
  return inputs.map((input) => {
    if (input instanceof KeyweaveError) return input;
    return failure ?? checked(batches[next++], input);
  });
}

function deriveRequest(inputs: BatchInputs): DeriveBatch {
  const { stream, first, count } = inputs;
  const { terms } = stream;
  return {
    method: terms.method.name,
    chunkBytes: stream.qos.keyChunkSize,
    firstIndex: first,
    count,
    context: {
      protocolVersion: PROTOCOL_VERSION,
      keyStreamId: stream.idBytes,
      initiatorNode: terms.sourceNode,
      responderNode: terms.destinationNode,
      source: terms.source,
      destination: terms.destination,
      qkdKeyStreamId: inputs.qkd?.qkdKeyStreamId ?? '',
      qkdEpoch: inputs.qkd?.epoch ?? 0,
      qkdPosition: inputs.qkd?.position ?? 0n,
      degradedSlot: inputs.degradedSlot,
    },
    slots: terms.slots.map((slot, i): SlotSecrets => {
      const { secrets, publicKeys = NOTHING, ciphertexts = NOTHING } = inputs.slots[i] as SlotContribution;
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

/**
 * Stand-in secrets for a slot that is missing at both ends: as in the
 * reference they come from the seed agreed beforehand, and here they differ by
 * stream, slot and index.
 */
export function standInSecrets(
  services: NodeServices,
  stream: KeyStream,
  slot: number,
  first: number,
  count: number,
): Buffer {
  const seed = services.sharedSeed(stream.peerNode)?.expose() ?? NOTHING;
  const bytes = stream.terms.slots[slot]?.sharedSecretBytes ?? 0;
  const secrets = ownMemory(count * bytes);
  const info = Buffer.alloc(24);
  stream.idBytes.copy(info);
  info.writeUInt32BE(slot, 16);
  for (let i = 0; i < count; i++) {
    info.writeUInt32BE(first + i, 20);
    const secret = Buffer.from(hkdfSync('sha256', seed, 'keyweave v1 shared_seed', info, bytes));
    secret.copy(secrets, i * bytes);
    secret.fill(0);
  }
  return secrets;
}

function checked(
  derived: DerivedBatch | undefined,
  { count, stream }: BatchInputs,
): DerivedBatch | KeyweaveError {
  if (
    derived?.keys.length === count * stream.qos.keyChunkSize &&
    derived.initiatorTags.length === count * TAG_BYTES &&
    derived.responderTags.length === count * TAG_BYTES
  ) {
    // Keys and the tags that release them wait, and must not keep the whole message alive.
    const keys = ownCopy(derived.keys);
    wipe(derived.keys);
    return { ...derived, keys, initiatorTags: ownCopy(derived.initiatorTags) };
  }
  wipe(derived?.keys);
  return new KeyweaveError('INTERNAL', 'the hybridizer answered with keys of the wrong size');
}
