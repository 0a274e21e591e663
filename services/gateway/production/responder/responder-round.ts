import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import { wipe } from '#common/crypto/bytes.ts';
import { failureOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isSound, mapSound, mapTogether, type Outcome, outcomeOf, settled } from '#common/errors/outcome.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { failpoint } from '#common/service/failpoint.ts';
import type { BatchAnswer, BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { DerivedKeys } from '../../clients/hybridizer-client.ts';
import type { Encapsulated } from '../../clients/kem-client.ts';
import { kindOfMask } from '../../streams/policy/lacking.ts';
import { type Batch, qkdSlotsOf, type SlotShares, shareKems, standInOf } from '../batch.ts';
import { batchLimit, RoundBudget } from '../batch-limit.ts';
import { deriveTogether } from '../derivation.ts';
import { type KemGroup, KemGroups, type KemShare, shareOf } from '../kem-groups.ts';
import { MissingPqcError, ofPqc } from '../missing-source.ts';
import type { RoundTools } from '../round-tools.ts';
import { type BatchInputs, slotInputs } from '../slot-inputs.ts';
import type { ResponderProducer } from './responder-producer.ts';

const NO_KEYS = Buffer.alloc(0);

/** An offer and the producer of its stream, or why there is none. */
export interface ReceivedOffer {
  readonly offer: BatchOffer;
  readonly producer: Outcome<ResponderProducer>;
}

export interface ResponderRoundOptions {
  readonly tools: RoundTools;
  /** Chunks of one batch at most (`limits.max_batch_chunks`). */
  readonly maxBatchChunks: number;
  readonly offers: readonly ReceivedOffer[];
}

/** A batch that is to be made: `batch.count` chunks, for which there is room. */
interface Admitted {
  readonly offer: BatchOffer;
  readonly batch: Batch<ResponderProducer>;
  /** Chunks that this end makes of one batch at most. */
  readonly most: number;
  readonly shares: SlotShares;
  /** QKD keys that it has taken. */
  qkdTaken: number;
}

/** One whose slots are put together; where QKD keys ran low there are fewer chunks. */
interface Prepared extends Admitted {
  readonly inputs: BatchInputs;
}

type MadeByGroup = ReadonlyMap<KemGroup, Outcome<Encapsulated>>;

/**
 * The responder's half of a round: each step is one call for all batches. The
 * keys are held back, unreleased, until the initiator confirms them. A batch
 * that fails leaves the others alone. However much is offered, this end makes
 * no more of a batch, and of all of them together, than its own limits say.
 */
export class ResponderRound {
  readonly #tools: RoundTools;
  readonly #maxBatchChunks: number;
  readonly #offers: readonly ReceivedOffer[];
  readonly #groups = new KemGroups();

  constructor({ tools, maxBatchChunks, offers }: ResponderRoundOptions) {
    this.#tools = tools;
    this.#maxBatchChunks = maxBatchChunks;
    this.#offers = offers;
  }

  /** An answer for each offer; never rejects. */
  async answer(): Promise<BatchAnswer[]> {
    const { chunks, bytes, cost } = MESSAGE_LIMITS;
    const budget = new RoundBudget({ chunks: chunks.taken, bytes: bytes.taken, cost: cost.taken });
    const admitted = this.#offers.map((offer) => outcomeOf(() => this.#admit(offer, budget)));
    const answers = await mapTogether(admitted, async (sound) => {
      await failpoint('responder.admitted');
      return this.#produce(sound);
    });
    return answers.map((answer, i) => {
      if (isSound(answer)) return answer;
      const entry = admitted[i] as Outcome<Admitted>;
      if (isSound(entry)) entry.batch.producer.batches.fail(answer);
      return failedAnswer(answer, isSound(entry) ? entry.qkdTaken : 0);
    });
  }

  /** @throws KeyweaveError why nothing is made of the offer. */
  #admit({ offer, producer }: ReceivedOffer, budget: RoundBudget): Admitted {
    if (!isSound(producer)) throw producer;
    const { stream, batches } = producer;
    const most = batchLimit(stream, this.#maxBatchChunks);
    const affordable = budget.affordable(stream, most);
    if (affordable === 0) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        'the offers of this message ask for more than one message may',
      );
    }
    const count = batches.admit(offer, affordable);
    budget.spend(stream, count);
    const standIn = standInOf(offer.degradedSlot);
    const leftOut = kindOfMask(stream.terms, offer.leftOut ?? 0);
    const batch = { producer, stream, first: offer.firstIndex, count, qkd: offer.qkd, standIn, leftOut };
    return { offer, batch, most, shares: shareKems(this.#groups, batch, count), qkdTaken: 0 };
  }

  async #produce(admitted: readonly Admitted[]): Promise<Outcome<BatchAnswer>[]> {
    const made = await this.#encapsulate(admitted);
    try {
      await failpoint('responder.fetch');
      const fetched = await Promise.all(admitted.map((entry) => settled(() => qkdKeysOf(entry, made))));
      const prepared = mapSound(fetched, (qkdKeys, i): Prepared => {
        const entry = admitted[i] as Admitted;
        entry.qkdTaken = qkdKeys.length / QKD_SECRET_BYTES;
        return { ...entry, inputs: this.#inputs(entry, made, qkdKeys) };
      });
      const inputs = mapSound(prepared, (entry) => entry.inputs);
      const derived = await deriveTogether(this.#tools, inputs);
      await failpoint('responder.derived');
      return mapSound(derived, (keys, i) => hold(prepared[i] as Prepared, keys));
    } finally {
      for (const outcome of made.values()) if (isSound(outcome)) wipe(outcome.sharedSecrets);
    }
  }

  async #encapsulate(admitted: readonly Admitted[]): Promise<MadeByGroup> {
    // All batches of a round are one peer's.
    const peerNode = admitted[0]?.batch.stream.route.farNode ?? '';
    const made = await Promise.all(
      this.#groups.groups.map(async (group) => {
        const publicKeys = publicKeysOf(group, admitted);
        return [
          group,
          await settled(() => this.#tools.kem.encapsulate(group.slot, publicKeys, peerNode)),
        ] as const;
      }),
    );
    return new Map(made);
  }

  /**
   * Everything that goes into the batch; where QKD runs low, it gets shorter rather than failing.
   *
   * @param qkdKeys taken over.
   */
  #inputs({ offer, batch, shares }: Admitted, made: MadeByGroup, qkdKeys: Buffer): BatchInputs {
    const count = possibleCount(batch, qkdKeys);
    return slotInputs(this.#tools.seeds, {
      batch: { ...batch, count },
      kem: (slot) => {
        const share = { ...(shares[slot] as KemShare), count };
        const { publicKeyBytes, ciphertextBytes, sharedSecretBytes } = share.group.slot;
        const { ciphertexts, sharedSecrets } = made.get(share.group) as Encapsulated;
        const offered = offer.publicKeys.find((entry) => entry.slot === slot)?.publicKeys as Uint8Array;
        return {
          secrets: shareOf(sharedSecrets, share, sharedSecretBytes),
          publicKeys: offered.subarray(0, count * publicKeyBytes),
          ciphertexts: shareOf(ciphertexts, share, ciphertextBytes),
        };
      },
      qkdKeys,
    });
  }
}

function publicKeysOf(group: KemGroup, admitted: readonly Admitted[]): Uint8Array {
  const parts = admitted.flatMap(({ offer, shares, batch }) =>
    offer.publicKeys
      .filter(({ slot }) => shares[slot]?.group === group)
      .map(({ publicKeys }) => publicKeys.subarray(0, batch.count * group.slot.publicKeyBytes)),
  );
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
}

/** The batch's QKD keys, or those of its first chunks; none where it takes none. */
async function qkdKeysOf({ batch, shares }: Admitted, made: MadeByGroup): Promise<Buffer> {
  for (const share of shares) {
    const result = share && made.get(share.group);
    if (result instanceof KeyweaveError) throw ofPqc(result);
  }
  const { producer, count, qkd } = batch;
  if (!qkd) return NO_KEYS;
  const slots = qkdSlotsOf(batch);
  return producer.qkd(qkd).take(qkd, count * slots, slots);
}

/** Chunks for which there are QKD keys. */
function possibleCount(batch: Batch, qkdKeys: Buffer): number {
  if (!batch.qkd) return batch.count;
  return qkdKeys.length / QKD_SECRET_BYTES / qkdSlotsOf(batch);
}

/** @throws KeyweaveError where the stream has ended meanwhile. */
function hold({ offer, batch, most, inputs, qkdTaken }: Prepared, derived: DerivedKeys): BatchAnswer {
  const { keys, initiatorTags, responderTags } = derived;
  const { producer, stream } = batch;
  producer.batches.hold(offer, { count: inputs.count, keys, initiatorTags });
  return {
    count: inputs.count,
    ciphertexts: inputs.slots.flatMap(({ ciphertexts }, slot) =>
      ciphertexts ? [{ slot, ciphertexts }] : [],
    ),
    responderTags,
    buffered: stream.buffer.size,
    failure: undefined,
    qkdBlockKeys: batch.qkd ? producer.qkd(batch.qkd).givenBlockKeys : 0,
    most,
    qkdTaken,
  };
}

function failedAnswer(error: KeyweaveError, qkdTaken: number): BatchAnswer {
  return {
    count: 0,
    ciphertexts: [],
    responderTags: Buffer.alloc(0),
    buffered: 0,
    failure: failureOf(error),
    qkdBlockKeys: 0,
    most: 0,
    qkdTaken,
    ...(error instanceof MissingPqcError && { lacks: { qkd: false, pqc: true } }),
  };
}
