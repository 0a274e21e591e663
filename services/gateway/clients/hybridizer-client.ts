import { ownCopy, wipe } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type Outcome, settled } from '#common/errors/outcome.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { DeriveBatch, DerivedBatch, HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { STEP_TIMEOUT_MS } from './step-limits.ts';

/** Bytes of one tag. */
export const TAG_BYTES = 32;

/** Keys of a batch and the tags that prove them, end to end. */
export interface DerivedKeys {
  /** The caller's, who wipes them; in memory of their own, as the tags that release them. */
  readonly keys: Buffer;
  readonly initiatorTags: Buffer;
  readonly responderTags: Uint8Array;
}

/** Key derivation of the own node's hybridizer. */
export interface HybridizerClient {
  /**
   * Derives batches together: for each its keys and tags, or why there are
   * none; never rejects. The secrets in the batches stay the caller's.
   */
  derive(batches: readonly DeriveBatch[]): Promise<Outcome<DerivedKeys>[]>;
}

export function createHybridizerClient(
  hybridizer: Pick<ServiceClient<HybridizerDefinition>, 'derive'>,
): HybridizerClient {
  async function ask(batches: readonly DeriveBatch[]): Promise<Outcome<DerivedKeys>[]> {
    const answer = await settled(() =>
      hybridizer.derive({ batches: [...batches] }, { timeoutMs: STEP_TIMEOUT_MS.derive }),
    );
    if (answer instanceof KeyweaveError) return batches.map(() => answer);
    return batches.map((batch, i) => checked(answer.batches[i], batch));
  }
  return {
    derive: async (batches) => (await Promise.all(messagesOf(batches).map(ask))).flat(),
  };
}

/** Puts batches together so that neither the question nor the answer is too long. */
function messagesOf(batches: readonly DeriveBatch[]): DeriveBatch[][] {
  const messages: DeriveBatch[][] = [];
  const { deriveBatches, deriveBytes } = MESSAGE_LIMITS;
  let open: DeriveBatch[] = [];
  let bytes = 0;
  for (const batch of batches) {
    const size = messageBytesOf(batch);
    if (open.length === 0 || open.length >= deriveBatches.filled || bytes + size > deriveBytes.filled) {
      open = [];
      bytes = 0;
      messages.push(open);
    }
    open.push(batch);
    bytes += size;
  }
  return messages;
}

/** About what a batch takes in the question or in the answer, whichever is longer; text counts as it may be encoded. */
function messageBytesOf({ context, count, chunkBytes, slots }: DeriveBatch): number {
  const uris = (context?.source.length ?? 0) + (context?.destination.length ?? 0);
  const secrets = slots.reduce((sum, slot) => sum + slot.secrets.length, 0);
  const question = 512 + 3 * uris + 192 * slots.length + secrets;
  const digests = 2 * TAG_BYTES * count * slots.length;
  return Math.max(question + digests, count * (chunkBytes + 2 * TAG_BYTES));
}

function checked(
  derived: DerivedBatch | undefined,
  { count, chunkBytes }: DeriveBatch,
): Outcome<DerivedKeys> {
  if (derived?.failure) return errorOf(derived.failure);
  if (
    derived?.keys.length === count * chunkBytes &&
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
