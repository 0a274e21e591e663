import { hkdfSync } from 'node:crypto';
import { digestPacked, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PROTOCOL_VERSION } from '#common/lifecycle/version.ts';
import type { DeriveResponse, SlotSecrets } from '#gen/keyweave/v1/hybridizer.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../sources/node-services.ts';
import type { KeyStream } from './key-stream.ts';

/** What one slot contributes to a batch; `secrets` are wiped once derived. */
export interface SlotContribution {
  readonly secrets: Buffer;
  /** Public keys and ciphertexts, end to end; absent for QKD. */
  readonly publicKeys?: Buffer;
  readonly ciphertexts?: Buffer;
}

export interface BatchInputs {
  readonly first: number;
  readonly count: number;
  /** In the agreed order of slots; entries may hold more than `count` items, the rest is ignored. */
  readonly slots: readonly SlotContribution[];
  readonly qkd: QkdReference | undefined;
  /** Slot that a shared_seed stands in for, plus one; 0 = none. */
  readonly degradedSlot: number;
}

/** Has the hybridizer join a batch; wipes every secret that went in, whatever happens. */
export async function deriveBatch(
  services: NodeServices,
  stream: KeyStream,
  inputs: BatchInputs,
): Promise<DeriveResponse> {
  const { first, count } = inputs;
  const slots = stream.terms.slots.map((slot, i): SlotSecrets => {
    const { secrets, publicKeys, ciphertexts } = inputs.slots[i] as SlotContribution;
    const own = (packed: Buffer | undefined, bytes: number) =>
      packed === undefined || i === inputs.degradedSlot - 1
        ? Buffer.alloc(0)
        : digestPacked(packed.subarray(0, count * bytes), bytes);
    return {
      slot,
      secrets: secrets.subarray(0, count * slot.sharedSecretBytes),
      secretBytes: slot.sharedSecretBytes,
      publicKeyDigests: own(publicKeys, slot.publicKeyBytes),
      ciphertextDigests: own(ciphertexts, slot.ciphertextBytes),
    };
  });
  const initiator = stream.terms.sourceNode;
  try {
    const derived = await services.hybridizer.derive(
      {
        method: stream.terms.method.name,
        chunkBytes: stream.qos.keyChunkSize,
        firstIndex: first,
        count,
        context: {
          protocolVersion: PROTOCOL_VERSION,
          keyStreamId: stream.idBytes,
          initiatorNode: initiator,
          responderNode: stream.terms.destinationNode,
          source: stream.terms.source,
          destination: stream.terms.destination,
          qkdKeyStreamId: inputs.qkd?.qkdKeyStreamId ?? '',
          qkdEpoch: inputs.qkd?.epoch ?? 0,
          qkdPosition: inputs.qkd?.position ?? 0n,
          degradedSlot: inputs.degradedSlot,
        },
        slots,
      },
      { timeoutMs: STEP_TIMEOUT_MS.derive },
    );
    assertDerived(derived, count, stream.qos.keyChunkSize);
    return derived;
  } finally {
    wipe(...inputs.slots.map((slot) => slot.secrets));
  }
}

/**
 * Stand-in secrets for a slot that is missing at both ends: as in the
 * reference they come from the seed agreed beforehand, and here they differ by
 * stream, slot and index.
 */
export function standInSecrets(
  seed: string,
  stream: KeyStream,
  slot: number,
  first: number,
  count: number,
): Buffer {
  const bytes = stream.terms.slots[slot]?.sharedSecretBytes ?? 0;
  const secrets = Buffer.allocUnsafeSlow(count * bytes);
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

function assertDerived(derived: DeriveResponse, count: number, chunkBytes: number): void {
  const { keys, initiatorTags, responderTags } = derived;
  if (
    keys.length !== count * chunkBytes ||
    initiatorTags.length !== count * 32 ||
    responderTags.length !== count * 32
  ) {
    wipe(keys);
    throw new KeyweaveError('INTERNAL', 'the hybridizer answered with keys of the wrong size');
  }
}
