import { asBuffer, equalBytes, wipe } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isSound, type Outcome, outcomeOf, settled } from '#common/errors/outcome.ts';
import { failpoint } from '#common/service/failpoint.ts';
import type { BatchAnswer, BatchOffer, ProduceResponse } from '#gen/keyweave/v1/key_agreement.ts';
import type { DerivedKeys } from '../../clients/hybridizer-client.ts';
import type { KeyPairs } from '../../clients/kem-client.ts';
import type { PeerLink } from '../../clients/peer-link.ts';
import { leftOutMask } from '../../streams/policy/lacking.ts';
import { KEYS_DIFFER } from '../../streams/stream-events.ts';
import { type Batch, degradedSlotOf, type SlotShares, shareKems } from '../batch.ts';
import { deriveTogether } from '../derivation.ts';
import { type KemGroup, KemGroups, type KemShare, shareOf } from '../kem-groups.ts';
import { ofOtherEnd, ofPqc } from '../missing-source.ts';
import type { RoundTools } from '../round-tools.ts';
import { type BatchInputs, slotInputs } from '../slot-inputs.ts';
import type { Confirmations } from './confirmations.ts';
import type { InitiatorProducer } from './initiator-producer.ts';
import { keysOf, type QkdPortion } from './qkd-portion.ts';

const NO_KEYS = Buffer.alloc(0);

export interface InitiatorRoundOptions {
  readonly tools: RoundTools;
  readonly link: PeerLink;
  readonly confirmations: Confirmations;
  readonly batches: readonly Batch<InitiatorProducer>[];
}

/** A batch that is to be agreed on. */
interface Offered {
  readonly batch: Batch<InitiatorProducer>;
  readonly shares: SlotShares;
}

/** One that the responder has made its half of. */
interface Agreed extends Offered {
  readonly answer: BatchAnswer;
  /** Those of the batch's QKD slots; to be wiped. */
  readonly qkdKeys: Buffer;
}

/** The halves of a group's key pairs, once the private ones have been used up. */
interface Decapsulated {
  readonly publicKeys: Buffer;
  readonly secrets: Buffer;
}

/**
 * The initiator's half of one round: batches of one or more streams to one
 * peer, each step one call for all of them (KEM first and QKD last, so that a
 * failed KEM burns no QKD key). A batch that fails is wiped at both ends and
 * leaves the others alone.
 */
export class InitiatorRound {
  readonly #tools: RoundTools;
  readonly #link: PeerLink;
  readonly #confirmations: Confirmations;
  readonly #offered: readonly Offered[];
  readonly #groups = new KemGroups();
  /** Key pairs that have not been used up. */
  readonly #keyPairs = new Map<KemGroup, KeyPairs>();
  #agreed: readonly Agreed[] = [];
  /** Why the responder could not be asked. */
  #lost: KeyweaveError | undefined;

  constructor({ tools, link, confirmations, batches }: InitiatorRoundOptions) {
    this.#tools = tools;
    this.#link = link;
    this.#confirmations = confirmations;
    this.#offered = batches.map((batch) => ({ batch, shares: shareKems(this.#groups, batch, batch.count) }));
  }

  /**
   * Key pairs, and the responder's answers; never rejects. Afterwards the
   * streams may offer their next batches. Resolves to why the responder could
   * not be asked, where that is so.
   */
  async offer(): Promise<KeyweaveError | undefined> {
    let response: ProduceResponse | undefined;
    const answers = await settled(async () => {
      await failpoint('initiator.offer');
      await this.#generate();
      await failpoint('initiator.produce');
      response = await this.#produce();
      await failpoint('initiator.answered');
      return this.#answersOf(response);
    });
    const agreed: Agreed[] = [];
    this.#offered.forEach(({ batch, shares }, i) => {
      const answer = isSound(answers) ? (answers[i] as Outcome<BatchAnswer>) : answers;
      if (isSound(answer)) {
        const qkdKeys = useQkd(batch, answer.count);
        batch.producer.answered(batch, answer);
        agreed.push({ batch, shares, answer, qkdKeys });
      } else {
        dropQkd(batch, answer, this.#lost, response?.answers[i]);
        batch.producer.end(batch, 0, this.#abandoned(batch, answer));
      }
    });
    this.#agreed = agreed;
    return this.#lost;
  }

  /** Decapsulation, QKD keys, derivation and confirmation; never rejects. */
  async finish(): Promise<void> {
    const agreed = this.#agreed;
    const derived = await this.#derive();
    agreed.forEach(({ batch, answer }, i) => {
      batch.producer.end(
        batch,
        answer.count,
        this.#confirm(batch, answer, derived[i] as Outcome<DerivedKeys>),
      );
    });
    for (const unused of this.#keyPairs.values()) this.#tools.kem.discard(unused);
  }

  async #generate(): Promise<void> {
    const made = await Promise.allSettled(
      this.#groups.groups.map(async (group) => {
        this.#keyPairs.set(group, await this.#tools.kem.generate(group.slot, group.count));
      }),
    );
    const failed = made.find((result) => result.status === 'rejected');
    if (failed) throw ofPqc(failed.reason);
  }

  async #produce(): Promise<ProduceResponse> {
    const riders = this.#confirmations.board();
    try {
      const offers = this.#offered.map((offered) => this.#offerOf(offered));
      const response = await this.#link.produce({
        ...{ offers, confirmations: riders.confirmations, qkd: undefined },
      });
      riders.arrived(response.decisions);
      return response;
    } catch (error) {
      riders.lost(error);
      this.#lost = KeyweaveError.from(error);
      throw error;
    }
  }

  #offerOf({ batch, shares }: Offered): BatchOffer {
    const { stream, first, count, qkd, standIn, leftOut } = batch;
    return {
      keyStreamId: stream.idBytes,
      incarnation: stream.incarnation,
      firstIndex: first,
      count,
      publicKeys: shares.flatMap((share, slot) => {
        const pairs = share && this.#keyPairs.get(share.group);
        if (!pairs) return [];
        return [{ slot, publicKeys: shareOf(pairs.publicKeys, share, share.group.slot.publicKeyBytes) }];
      }),
      qkd,
      degradedSlot: degradedSlotOf(standIn),
      ...(leftOut && { leftOut: leftOutMask(stream.terms, leftOut) }),
    };
  }

  /** @throws KeyweaveError AGREEMENT_FAILED for a wrong number of answers. */
  #answersOf({ answers }: ProduceResponse): Outcome<BatchAnswer>[] {
    const offered = this.#offered;
    if (answers.length !== offered.length) {
      const detail = `the other end answered ${answers.length} offers of ${offered.length}`;
      throw new KeyweaveError('AGREEMENT_FAILED', detail);
    }
    return answers.map((answer, i) => {
      if (answer.failure) return ofOtherEnd(answer.failure, answer.lacks);
      return faultOf(offered[i] as Offered, answer) ?? answer;
    });
  }

  /**
   * The batch that failed before both ends agreed on it; the other end may hold
   * it none the less, unless it had no room. That index will be offered again,
   * and a late word to drop it would meet the new batch.
   */
  #abandoned(batch: Batch<InitiatorProducer>, failure: KeyweaveError): Promise<Buffer> {
    if (!isReason(failure, 'NO_ROOM')) this.#drop(batch);
    return Promise.reject(failure);
  }

  #drop({ stream, producer, first, count }: Batch<InitiatorProducer>): void {
    const batch = { keyStreamId: stream.idBytes, incarnation: stream.incarnation, firstIndex: first, count };
    this.#confirmations.drop(batch, { stopped: () => producer.stopped, onLost: () => undefined });
  }

  /** For each batch its keys and tags, or why there are none. */
  async #derive(): Promise<Outcome<DerivedKeys>[]> {
    const made = await this.#decapsulate();
    try {
      await failpoint('initiator.derive');
      const inputs = this.#agreed.map((agreed) => outcomeOf(() => this.#inputs(agreed, made)));
      return await deriveTogether(this.#tools, inputs);
    } catch (thrown) {
      return this.#agreed.map(() => KeyweaveError.from(thrown));
    } finally {
      for (const halves of made.values()) if (isSound(halves)) wipe(halves.secrets);
      for (const { qkdKeys } of this.#agreed) wipe(qkdKeys);
    }
  }

  /** Resolves to the keys once the other end has released them; they are the caller's. */
  async #confirm(
    batch: Batch<InitiatorProducer>,
    { count, responderTags }: BatchAnswer,
    derived: Outcome<DerivedKeys>,
  ): Promise<Buffer> {
    const { stream, producer, first } = batch;
    if (!isSound(derived)) {
      // Whatever the reason, NO_ROOM of this end's own services among them: the other end holds it.
      this.#drop(batch);
      throw derived;
    }
    try {
      if (!equalBytes(derived.responderTags, responderTags)) {
        this.#drop(batch);
        throw new KeyweaveError('AGREEMENT_FAILED', KEYS_DIFFER);
      }
      await failpoint('initiator.confirm');
      const confirmation = {
        keyStreamId: stream.idBytes,
        incarnation: stream.incarnation,
        firstIndex: first,
        count,
        initiatorTags: derived.initiatorTags,
      };
      const asker = {
        stopped: () => producer.stopped,
        onLost: (error: KeyweaveError) => stream.noteFailure(error),
      };
      await this.#confirmations.confirm(confirmation, asker, producer.urgent);
      await failpoint('initiator.confirmed');
      return derived.keys;
    } catch (error) {
      wipe(derived.keys);
      throw error;
    }
  }

  /**
   * Shared secrets by group. Keys whose batch failed are given zeros as
   * ciphertexts: a private key is used up by group, and what comes of zeros is
   * never looked at.
   */
  async #decapsulate(): Promise<ReadonlyMap<KemGroup, Outcome<Decapsulated>>> {
    const made = new Map<KemGroup, Outcome<Decapsulated>>();
    await Promise.all(
      [...this.#keyPairs].map(async ([group, pairs]) => {
        const ciphertexts = ciphertextsOf(group, this.#agreed);
        if (ciphertexts.length === 0) return;
        this.#keyPairs.delete(group);
        const halves = settled(async () => {
          await failpoint('initiator.decapsulate');
          const secrets = await this.#tools.kem.decapsulate(group.slot, pairs, ciphertexts);
          return { publicKeys: pairs.publicKeys, secrets };
        });
        made.set(group, await halves);
      }),
    );
    return made;
  }

  /** @throws KeyweaveError why it is lost already. */
  #inputs(
    { batch, answer, shares, qkdKeys }: Agreed,
    made: ReadonlyMap<KemGroup, Outcome<Decapsulated>>,
  ): BatchInputs {
    const { count } = answer;
    for (const share of shares) {
      const halves = share && made.get(share.group);
      if (halves instanceof KeyweaveError) throw ofPqc(halves);
    }
    const received = new Map(answer.ciphertexts.map(({ slot, ciphertexts }) => [slot, ciphertexts] as const));
    return slotInputs(this.#tools.seeds, {
      batch: { ...batch, count },
      kem: (slot) => {
        const share = { ...(shares[slot] as KemShare), count };
        const { publicKeyBytes, sharedSecretBytes } = share.group.slot;
        const { publicKeys, secrets } = made.get(share.group) as Decapsulated;
        return {
          secrets: shareOf(secrets, share, sharedSecretBytes),
          publicKeys: shareOf(publicKeys, share, publicKeyBytes),
          ciphertexts: received.get(slot) as Uint8Array,
        };
      },
      qkdKeys,
    });
  }
}

/** The QKD keys of the chunks that both ends have agreed on. */
function useQkd({ producer, grant }: Batch<InitiatorProducer>, count: number): Buffer {
  return grant ? (producer.qkd as QkdPortion).use(grant, count) : NO_KEYS;
}

/** What the other end has taken of a failed batch's QKD keys is burned; without its word it may have taken all. */
function dropQkd(
  { producer, grant }: Batch<InitiatorProducer>,
  error: KeyweaveError,
  lost: KeyweaveError | undefined,
  answer: BatchAnswer | undefined,
): void {
  if (!grant) return;
  const mayHaveCome = answer === undefined && lost !== undefined && isReason(lost, 'TIMEOUT');
  const isWrong = answer !== undefined && answer.failure === undefined;
  const taken = mayHaveCome || isWrong ? keysOf(grant) : (answer?.qkdTaken ?? 0);
  producer.qkd?.drop(grant, taken, error.reason);
}

/** What is wrong with an answer, if anything. */
function faultOf({ batch, shares }: Offered, answer: BatchAnswer): KeyweaveError | undefined {
  const { count } = answer;
  if (count < 1 || count > batch.count) {
    return new KeyweaveError('AGREEMENT_FAILED', 'the other end answered for a wrong number of chunks');
  }
  const expected = shares.flatMap((share, slot) =>
    share ? [{ slot, bytes: count * share.group.slot.ciphertextBytes }] : [],
  );
  const fits =
    answer.ciphertexts.length === expected.length &&
    expected.every(({ slot, bytes }, i) => {
      const part = answer.ciphertexts[i];
      return part?.slot === slot && part.ciphertexts.length === bytes;
    });
  return fits
    ? undefined
    : new KeyweaveError('AGREEMENT_FAILED', 'the other end answered with ciphertexts of a wrong size');
}

/** The group's ciphertexts up to the last that came; without a copy where one batch is the whole group. */
function ciphertextsOf(group: KemGroup, agreed: readonly Agreed[]): Buffer {
  const parts = agreed.flatMap(({ shares, answer }) =>
    answer.ciphertexts.flatMap(({ slot, ciphertexts }) => {
      const share = shares[slot] as KemShare;
      return share.group === group ? [{ at: share.offset * group.slot.ciphertextBytes, ciphertexts }] : [];
    }),
  );
  const [only] = parts;
  if (only && parts.length === 1 && only.at === 0) return asBuffer(only.ciphertexts);
  const packed = Buffer.alloc(Math.max(0, ...parts.map(({ at, ciphertexts }) => at + ciphertexts.length)));
  for (const { at, ciphertexts } of parts) packed.set(ciphertexts, at);
  return packed;
}
