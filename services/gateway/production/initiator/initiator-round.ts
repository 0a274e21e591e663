import { asBuffer, equalBytes, wipe } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { failpoint } from '#common/service/failpoint.ts';
import type { BatchAnswer, KemCiphertexts, ProduceResponse } from '#gen/keyweave/v1/key_agreement.ts';
import type { KeyPairBatch } from '../../clients/kem-session.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../../clients/node-services.ts';
import type { PeerLink } from '../../clients/peer-link.ts';
import { fetchTogether } from '../../clients/qkd-stream.ts';
import { countQkdSlots, isQkd, QKD_SECRET_BYTES } from '../../streams/stream-terms.ts';
import { type BatchInputs, deriveTogether, type SlotContribution, standInSecrets } from '../derivation.ts';
import { type KemGroup, KemGroups, type KemShare, shareOf } from '../kem-groups.ts';
import type { Confirmations } from './confirmations.ts';
import type { Batch } from './initiator-producer.ts';

/** One batch on its way through the round. */
interface Entry {
  readonly batch: Batch;
  /** By slot; undefined for QKD and for a slot that something stands in for. */
  readonly shares: readonly (KemShare | undefined)[];
  /** The responder's answer, once it is known to fit the offer. */
  answer?: BatchAnswer;
  failure?: KeyweaveError;
}

/** An entry that both ends have agreed on. */
type Agreed = Entry & { readonly answer: BatchAnswer };

const isAgreed = (entry: Entry): entry is Agreed => entry.answer !== undefined;

/**
 * The initiator's half of one round: batches of one or more streams to one
 * peer, each step one call for all of them (KEM first and QKD last, so that a
 * failed KEM burns no QKD key). A batch that fails is wiped at both ends and
 * leaves the others alone.
 */
export class InitiatorRound {
  readonly #services: NodeServices;
  readonly #peer: PeerLink;
  readonly #outbox: Confirmations;
  readonly #entries: readonly Entry[];
  readonly #groups = new KemGroups();
  /** Key pairs that have not been used up. */
  readonly #keyPairs = new Map<KemGroup, KeyPairBatch>();
  /** Public halves of those that have. */
  readonly #publicKeys = new Map<KemGroup, Buffer>();
  /** Why the responder could not be asked. */
  #lost: KeyweaveError | undefined;

  constructor(options: {
    services: NodeServices;
    peer: PeerLink;
    outbox: Confirmations;
    batches: readonly Batch[];
  }) {
    this.#services = options.services;
    this.#peer = options.peer;
    this.#outbox = options.outbox;
    this.#entries = options.batches.map((batch) => ({
      batch,
      shares: batch.stream.terms.slots.map((slot, i) =>
        isQkd(slot) || i === batch.degradedSlot - 1 ? undefined : this.#groups.add(slot, batch.count),
      ),
    }));
  }

  /**
   * Key pairs, and the responder's answers; never rejects. Afterwards the
   * streams may offer their next batches. Resolves to why the responder could
   * not be asked, where that is so.
   */
  async offer(): Promise<KeyweaveError | undefined> {
    try {
      await failpoint('initiator.offer');
      await this.#generate();
      await failpoint('initiator.produce');
      const response = await this.#produce();
      await failpoint('initiator.answered');
      this.#accept(response);
    } catch (thrown) {
      for (const entry of this.#entries) entry.failure = KeyweaveError.from(thrown);
    }
    for (const entry of this.#entries) {
      const { batch, failure } = entry;
      if (isAgreed(entry)) batch.supply.answered(batch, entry.answer);
      else batch.supply.end(batch, 0, this.#abandoned(batch, failure as KeyweaveError));
    }
    return this.#lost;
  }

  /** Decapsulation, QKD keys, derivation and confirmation; never rejects. */
  async finish(): Promise<void> {
    const entries = this.#entries.filter(isAgreed);
    const turns = entries.map(({ batch }) => batch.supply.turn());
    await Promise.all(turns.map(({ come }) => come));
    const outcomes = await this.#derive(entries);
    entries.forEach(({ batch, answer }, i) => {
      batch.supply.end(batch, answer.count, outcomes[i] as Promise<Buffer>);
    });
    for (const unused of this.#keyPairs.values()) this.#services.keyPairs.discard(unused);
    for (const { over } of turns) over();
  }

  async #generate(): Promise<void> {
    const made = await Promise.allSettled(
      this.#groups.groups.map(async (group) => {
        const { slot, count } = group;
        const batch = await this.#services.keyPairs.generate(slot.algorithm, count, STEP_TIMEOUT_MS.generate);
        this.#keyPairs.set(group, batch);
        if (batch.publicKeys.length !== count * slot.publicKeyBytes) {
          throw new KeyweaveError('INTERNAL', 'pqc-source answered with a wrong size');
        }
      }),
    );
    const failed = made.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  async #produce(): Promise<ProduceResponse> {
    const ride = this.#outbox.ride();
    try {
      const response = await this.#peer.produce(
        {
          offers: this.#entries.map(({ batch, shares }) => ({
            keyStreamId: batch.stream.idBytes,
            incarnation: batch.stream.incarnation,
            firstIndex: batch.first,
            count: batch.count,
            publicKeys: shares.flatMap((share, slot) =>
              share ? [{ slot, publicKeys: this.#publicKeysOf(share) }] : [],
            ),
            qkd: batch.qkd,
            degradedSlot: batch.degradedSlot,
          })),
          confirmations: ride.confirmations,
        },
        STEP_TIMEOUT_MS.produce,
      );
      ride.arrived(response.decisions);
      return response;
    } catch (error) {
      ride.lost(error);
      this.#lost = KeyweaveError.from(error);
      throw error;
    }
  }

  #accept({ answers }: ProduceResponse): void {
    if (answers.length !== this.#entries.length) {
      const detail = `the other end answered ${answers.length} offers of ${this.#entries.length}`;
      throw new KeyweaveError('AGREEMENT_FAILED', detail);
    }
    this.#entries.forEach((entry, i) => {
      const answer = answers[i] as BatchAnswer;
      if (answer.failure) entry.failure = errorOf(answer.failure);
      else {
        const fault = faultOf(entry, answer);
        if (fault) entry.failure = fault;
        else entry.answer = answer;
      }
    });
  }

  /**
   * The batch that failed before both ends agreed on it; the other end may hold
   * it none the less, unless it had no room. That index will be offered again,
   * and a late word to drop it would meet the new batch.
   */
  #abandoned(batch: Batch, failure: KeyweaveError): Promise<Buffer> {
    if (!isReason(failure, 'NO_ROOM')) this.#drop(batch);
    return Promise.reject(failure);
  }

  #drop({ stream, supply, first, count }: Batch): void {
    const batch = { keyStreamId: stream.idBytes, incarnation: stream.incarnation, firstIndex: first, count };
    this.#outbox.drop(batch, { stopped: () => supply.stopped, onLost: () => undefined });
  }

  /** For each entry its keys, released at the other end, or why not. */
  async #derive(entries: readonly Agreed[]): Promise<Promise<Buffer>[]> {
    const secrets = await this.#decapsulate(entries);
    try {
      const inputs = await this.#contributions(entries, secrets);
      const derived = await deriveTogether(this.#services, inputs);
      return entries.map((entry, i) => this.#confirm(entry, derived[i] as DerivedOrError));
    } catch (thrown) {
      return entries.map(({ batch }) => this.#abandoned(batch, KeyweaveError.from(thrown)));
    } finally {
      for (const made of secrets.values()) if (Buffer.isBuffer(made)) made.fill(0);
    }
  }

  async #confirm({ batch, answer }: Agreed, derived: DerivedOrError): Promise<Buffer> {
    const { stream, supply, first } = batch;
    const { count, responderTags } = answer;
    if (derived instanceof KeyweaveError) {
      this.#drop(batch);
      throw derived;
    }
    try {
      if (!equalBytes(derived.responderTags, responderTags)) {
        this.#drop(batch);
        throw new KeyweaveError('AGREEMENT_FAILED', 'the two ends did not derive the same keys');
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
        stopped: () => supply.stopped,
        onLost: (error: KeyweaveError) => {
          stream.lastFailure = error;
        },
      };
      await this.#outbox.confirm(confirmation, asker, supply.urgent);
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
  async #decapsulate(entries: readonly Agreed[]): Promise<Map<KemGroup, Buffer | KeyweaveError>> {
    const groups = [...this.#keyPairs.keys()];
    const results = await Promise.all(
      groups.map(async (group): Promise<Buffer | KeyweaveError> => {
        const ciphertexts = ciphertextsOf(group, entries);
        if (ciphertexts.length === 0) return Buffer.alloc(0);
        const batch = this.#keyPairs.get(group) as KeyPairBatch;
        this.#keyPairs.delete(group);
        try {
          await failpoint('initiator.decapsulate');
          const { sharedSecretBytes, ciphertextBytes } = group.slot;
          const secrets = await this.#services.keyPairs.decapsulate(
            batch,
            ciphertexts,
            STEP_TIMEOUT_MS.decapsulate,
          );
          if (secrets.length * ciphertextBytes !== ciphertexts.length * sharedSecretBytes) {
            wipe(secrets);
            throw new KeyweaveError('INTERNAL', 'pqc-source answered with a wrong size');
          }
          this.#publicKeys.set(group, batch.publicKeys);
          return secrets;
        } catch (thrown) {
          return KeyweaveError.from(thrown);
        }
      }),
    );
    return new Map(groups.map((group, i) => [group, results[i] as Buffer | KeyweaveError]));
  }

  /** Everything that goes into each entry's keys, or why there are none. */
  async #contributions(
    entries: readonly Agreed[],
    secrets: ReadonlyMap<KemGroup, Buffer | KeyweaveError>,
  ): Promise<(BatchInputs | KeyweaveError)[]> {
    const needs = entries.map((entry) => this.#qkdNeed(entry, secrets));
    const wanted = needs.flatMap((need) => (need instanceof KeyweaveError || !need ? [] : [need]));
    await failpoint('initiator.fetch');
    const fetched = await fetchTogether(this.#services, wanted);
    let next = 0;
    return entries.map((entry, i) => {
      const need = needs[i];
      if (need instanceof KeyweaveError) return need;
      const qkdKeys = need ? (fetched[next++] as Buffer | KeyweaveError) : undefined;
      return qkdKeys instanceof KeyweaveError ? qkdKeys : this.#inputs(entry, secrets, qkdKeys);
    });
  }

  #qkdNeed({ batch, answer, shares }: Agreed, secrets: ReadonlyMap<KemGroup, Buffer | KeyweaveError>) {
    for (const share of shares) {
      const made = share && secrets.get(share.group);
      if (made instanceof KeyweaveError) return made;
    }
    if (!batch.qkd) return undefined;
    if (!batch.supply.qkd.isNext(batch.qkd)) {
      return new KeyweaveError('QKD_OUT_OF_STEP', 'an earlier batch has lost the QKD stream');
    }
    return {
      link: batch.supply.qkd,
      count: answer.count * countQkdSlots(batch.stream.terms, batch.degradedSlot),
    };
  }

  /** @param qkdKeys those of the entry's slots and the rest of their block, wiped here but for the first; undefined: it takes none. */
  #inputs(
    { batch, answer, shares }: Agreed,
    secrets: ReadonlyMap<KemGroup, Buffer | KeyweaveError>,
    qkdKeys: Buffer = Buffer.alloc(0),
  ): BatchInputs | KeyweaveError {
    const { stream, first, degradedSlot } = batch;
    const { count, ciphertexts } = answer;
    const need = count * countQkdSlots(stream.terms, degradedSlot) * QKD_SECRET_BYTES;
    if (qkdKeys.length < need) {
      wipe(qkdKeys);
      return new KeyweaveError('INSUFFICIENT_KEY', 'the key manager of this node has run dry');
    }
    qkdKeys.fill(0, need);
    const received = new Map(ciphertexts.map((entry) => [entry.slot, entry.ciphertexts] as const));
    let nextQkd = 0;
    try {
      const slots = stream.terms.slots.map((slot, i): SlotContribution => {
        const share = shares[i];
        if (share) {
          const items = { ...share, count };
          return {
            secrets: shareOf(secrets.get(share.group) as Buffer, items, slot.sharedSecretBytes),
            publicKeys: shareOf(this.#publicKeys.get(share.group) as Buffer, items, slot.publicKeyBytes),
            ciphertexts: received.get(i) as Buffer,
          };
        }
        if (i === degradedSlot - 1)
          return { secrets: standInSecrets(this.#services, stream, i, first, count) };
        const start = nextQkd++ * count * QKD_SECRET_BYTES;
        return { secrets: qkdKeys.subarray(start, start + count * QKD_SECRET_BYTES) };
      });
      return { stream, first, count, slots, qkd: batch.qkd, degradedSlot };
    } catch (thrown) {
      wipe(qkdKeys);
      return KeyweaveError.from(thrown);
    }
  }

  #publicKeysOf(share: KemShare): Buffer {
    const { publicKeys } = this.#keyPairs.get(share.group) as KeyPairBatch;
    return shareOf(publicKeys, share, share.group.slot.publicKeyBytes);
  }
}

type DerivedOrError = Awaited<ReturnType<typeof deriveTogether>>[number];

/** What is wrong with an answer, if anything. */
function faultOf({ batch, shares }: Entry, answer: BatchAnswer): KeyweaveError | undefined {
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
      const entry = answer.ciphertexts[i] as KemCiphertexts;
      return entry.slot === slot && entry.ciphertexts.length === bytes;
    });
  return fits
    ? undefined
    : new KeyweaveError('AGREEMENT_FAILED', 'the other end answered with ciphertexts of a wrong size');
}

/** The group's ciphertexts up to the last that came; without a copy where one batch is the whole group. */
function ciphertextsOf(group: KemGroup, entries: readonly Agreed[]): Buffer {
  const parts = entries.flatMap(({ shares, answer }) =>
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
