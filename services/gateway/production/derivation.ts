import { hkdfSync } from 'node:crypto';
import { digestPacked, ownCopy, ownMemory, wipe } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { failpoint } from '#common/service/failpoint.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import type { DeriveBatch, DerivedBatch, SlotSecrets } from '#gen/keyweave/v1/hybridizer.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../clients/node-services.ts';
import type { KeyStream } from '../streams/key-stream.ts';

/** Bytes of one tag. */
const TAG_BYTES = 32;
const NOTHING = Buffer.alloc(0);

/** What one slot contributes to a batch; `secrets` are wiped once derived. */
export interface SlotContribution {
  readonly secrets: Uint8Array;
  /** Public keys and ciphertexts, end to end; absent for QKD. */
  readonly publicKeys?: Uint8Array;
  readonly ciphertexts?: Uint8Array;
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

/** Keys of a batch and the tags that prove them, end to end. */
export interface DerivedKeys {
  /** The caller's, who wipes them. */
  readonly keys: Buffer;
  readonly initiatorTags: Buffer;
  readonly responderTags: Uint8Array;
}

/**
 * Has the hybridizer join several batches, in one call where they fit one
 * message. An entry that has failed already passes through, and one that fails
 * leaves the others alone. Wipes every secret that went in, whatever happens;
 * the caller owns the keys that come out.
 */
export async function deriveTogether(
  services: NodeServices,
  inputs: readonly (BatchInputs | KeyweaveError)[],
): Promise<(DerivedKeys | KeyweaveError)[]> {
  const whole = inputs.filter((input): input is BatchInputs => !(input instanceof KeyweaveError));
  let derived: (DerivedKeys | KeyweaveError)[] = [];
  try {
    derived = (await Promise.all(messagesOf(whole).map((message) => derive(services, message)))).flat();
  } finally {
    for (const { slots } of whole) wipe(...slots.map((slot) => slot.secrets));
  }
  let next = 0;
  return inputs.map((input) =>
    input instanceof KeyweaveError ? input : (derived[next++] as DerivedKeys | KeyweaveError),
  );
}

/** One call; what fails, fails for all batches of it. */
async function derive(
  services: NodeServices,
  inputs: readonly BatchInputs[],
): Promise<(DerivedKeys | KeyweaveError)[]> {
  try {
    await failpoint('gateway.derive');
    const request = { batches: inputs.map(deriveRequest) };
    const { batches } = await services.hybridizer.derive(request, { timeoutMs: STEP_TIMEOUT_MS.derive });
    return inputs.map((input, i) => checked(batches[i], input));
  } catch (thrown) {
    const failure = KeyweaveError.from(thrown);
    return inputs.map(() => failure);
  }
}

/** Puts batches together so that neither the question nor the answer is too long. */
function messagesOf(inputs: readonly BatchInputs[]): BatchInputs[][] {
  const messages: BatchInputs[][] = [];
  let open: BatchInputs[] = [];
  let bytes = 0;
  for (const input of inputs) {
    const size = messageBytesOf(input);
    const { deriveBatches, deriveBytes } = MESSAGE_LIMITS;
    if (open.length === 0 || open.length >= deriveBatches.filled || bytes + size > deriveBytes.filled) {
      open = [];
      bytes = 0;
      messages.push(open);
    }
    open.push(input);
    bytes += size;
  }
  return messages;
}

/** About what a batch takes in the question or in the answer, whichever is longer; text counts as it may be encoded. */
function messageBytesOf({ stream, count, slots }: BatchInputs): number {
  const { source, destination } = stream.terms;
  const secrets = slots.reduce((sum, slot) => sum + slot.secrets.length, 0);
  const question = 512 + 3 * (source.length + destination.length) + 192 * slots.length + secrets;
  const digests = 2 * TAG_BYTES * count * slots.length;
  return Math.max(question + digests, count * (stream.qos.keyChunkSize + 2 * TAG_BYTES));
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
      incarnation: stream.incarnation,
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
 * Stand-in secrets for a slot that is missing at both ends, or that the URI
 * does not name: as in the reference they come from the seed agreed beforehand,
 * and here they differ by stream, its incarnation, slot and index. The caller
 * wipes them.
 *
 * @throws KeyweaveError AGREEMENT_FAILED without a seed.
 */
export function standInSecrets(
  services: NodeServices,
  stream: KeyStream,
  slot: number,
  first: number,
  count: number,
): Buffer {
  const seed = services.sharedSeed(stream.peerNode)?.expose();
  if (seed === undefined || seed.length === 0) {
    throw new KeyweaveError('AGREEMENT_FAILED', `there is no shared_seed for node ${stream.peerNode}`);
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

function checked(
  derived: DerivedBatch | undefined,
  { count, stream }: BatchInputs,
): DerivedKeys | KeyweaveError {
  if (derived?.failure) return errorOf(derived.failure);
  if (
    derived?.keys.length === count * stream.qos.keyChunkSize &&
    derived.initiatorTags.length === count * TAG_BYTES &&
    derived.responderTags.length === count * TAG_BYTES
  ) {
    // Keys and the tags that release them wait, and must not keep the whole message alive.
    const keys = ownCopy(derived.keys);
    wipe(derived.keys);
    return { keys, initiatorTags: ownCopy(derived.initiatorTags), responderTags: derived.responderTags };
  }
  wipe(derived?.keys);
  return new KeyweaveError('INTERNAL', 'the hybridizer answered with keys of the wrong size');
}
