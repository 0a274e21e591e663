import { findKemAlgorithm, type KemCost } from '#common/algorithms/kem-algorithms.ts';
import { equalBytes, wipe } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MAX_BATCH_BYTES } from '#common/grpc/channel-options.ts';
import type { ProduceResponse, QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { KeyPairBatch } from '../sources/key-pair-session.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../sources/node-services.ts';
import { QkdLink } from '../sources/qkd-link.ts';
import { deriveBatch, type SlotContribution, standInSecrets } from './derivation.ts';
import type { ChunkSupply, KeyStream } from './key-stream.ts';
import { isQkd, QKD_SECRET_BYTES } from './stream-terms.ts';

const RETRY_DELAY_MS = 50;
const MAX_PAUSE_MS = 1_000;

/**
 * Chunks of one exchange where a KEM of that cost is among the sources, so
 * that those who wait for the first chunk need not wait for many.
 */
const BATCH_BY_COST: Readonly<Record<KemCost, number>> = {
  light: Number.POSITIVE_INFINITY,
  medium: 8,
  heavy: 1,
};

/** Attempts before those who wait are told. A service that is being restarted is back within a second. */
const ATTEMPTS = 2;
const ATTEMPTS_WHILE_UNREACHABLE = 5;

/** Key pairs and the QKD position of a batch that is being agreed. */
interface Offer {
  readonly first: number;
  readonly count: number;
  /** By slot; undefined for QKD and for a slot that something stands in for. */
  readonly keyPairs: readonly (KeyPairBatch | undefined)[];
  readonly qkd: QkdReference | undefined;
  readonly degradedSlot: number;
}

/**
 * The initiator's half of production: one exchange at a time makes a batch,
 * on demand from either end and ahead of demand. A batch that fails is wiped
 * at both ends and its indexes are never used again.
 */
export class InitiatorProducer implements ChunkSupply {
  readonly #services: NodeServices;
  readonly #stream: KeyStream;
  readonly #qkd: QkdLink;
  readonly #qkdSlots: number;
  readonly #batchLimit: number;
  #wanted = 0;
  #running = false;
  #stopped = false;
  #failures = 0;
  #wakeEarly: (() => void) | undefined;
  #outcomes: PromiseWithResolvers<void>[] = [];

  constructor(services: NodeServices, stream: KeyStream) {
    this.#services = services;
    this.#stream = stream;
    this.#qkdSlots = stream.terms.slots.filter(isQkd).length;
    this.#batchLimit = batchLimit(stream, services.limits.max_batch_chunks);
    this.#qkd = new QkdLink({
      services,
      keyStreamId: stream.idBytes,
      initiatorNode: stream.terms.sourceNode,
      responderNode: stream.terms.destinationNode,
      keyBytes: QKD_SECRET_BYTES,
    });
  }

  want(count: number): void {
    this.#wanted = Math.max(this.#wanted, count);
    if (!this.#running && !this.#stopped) void this.#run();
  }

  /**
   * The other end asks: resolves when chunks have been made, rejects with the
   * failure when they could not be.
   */
  demand(count: number): Promise<void> {
    const outcome = Promise.withResolvers<void>();
    this.#outcomes.push(outcome);
    this.want(count);
    return outcome.promise;
  }

  stop(): void {
    this.#stopped = true;
    this.#wakeEarly?.();
    this.#settleOutcomes(new KeyweaveError('UNKNOWN_STREAM', 'the other end has closed this stream'));
    this.#qkd.close();
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      while (this.#wanted > 0 && !this.#stopped) {
        const count = Math.min(this.#wanted, this.#batchLimit);
        try {
          await this.#attempt(count);
          this.#failures = 0;
          // What is still missing is counted anew: during the exchange the same lack was reported again and again.
          this.#wanted = 0;
          this.#settleOutcomes(undefined);
          this.#stream.refill();
        } catch (thrown) {
          await this.#afterFailure(KeyweaveError.from(thrown), thrown);
        }
      }
    } finally {
      this.#running = false;
    }
  }

  /** After a few attempts those who wait are told; pauses keep trouble from becoming a busy loop. */
  async #afterFailure(error: KeyweaveError, thrown: unknown): Promise<void> {
    this.#failures += 1;
    if (this.#stopped) return;
    const { log } = this.#services;
    log.warning(
      'a batch was dropped',
      { ksid: this.#stream.id, reason: error.reason, detail: error.detail },
      thrown,
    );
    this.#stream.lastFailure = error;
    if (isReason(error, 'UNKNOWN_STREAM')) {
      this.#wanted = 0;
      this.#stream.peerClosed('the other node no longer knows this stream; open a new one');
      return;
    }
    const unreachable = isReason(error, 'PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'SHUTTING_DOWN');
    if (this.#failures >= (unreachable ? ATTEMPTS_WHILE_UNREACHABLE : ATTEMPTS)) {
      this.#wanted = 0;
      this.#stream.failWaiters(error);
      this.#settleOutcomes(error);
    }
    await this.#pause(Math.min(MAX_PAUSE_MS, RETRY_DELAY_MS * 2 ** Math.min(10, this.#failures - 1)));
  }

  async #attempt(count: number): Promise<void> {
    try {
      await this.#exchange(count, 0);
    } catch (error) {
      const slot = this.#replaceableSlot(error);
      if (slot === undefined) throw error;
      this.#services.log.warning('a shared_seed stands in for a source', { ksid: this.#stream.id, slot });
      await this.#exchange(count, slot + 1);
    }
  }

  /**
   * The seed's rule: of exactly two kinds of sources, one slot is missing, and
   * the policy of both ends lets the shared_seed stand in for it.
   */
  #replaceableSlot(error: unknown): number | undefined {
    const { slots } = this.#stream.terms;
    if (!this.#stream.allowDegraded || slots.length !== 2 || this.#qkdSlots !== 1) return undefined;
    if (isReason(error, 'QKD_UNAVAILABLE', 'QKD_OUT_OF_STEP', 'INSUFFICIENT_KEY'))
      return slots.findIndex(isQkd);
    return undefined;
  }

  async #exchange(count: number, degradedSlot: number): Promise<void> {
    const stream = this.#stream;
    const first = stream.buffer.nextIndex;
    let burnTo = first;
    const offer = await this.#prepare(first, count, degradedSlot);
    try {
      burnTo = first + count;
      const response = await this.#services.peer(stream.peerNode).produce(
        {
          keyStreamId: stream.idBytes,
          firstIndex: first,
          count,
          publicKeys: offer.keyPairs.flatMap((batch, slot) =>
            batch ? [{ slot, publicKeys: batch.publicKeys }] : [],
          ),
          qkd: offer.qkd,
          confirm: undefined,
          degradedSlot,
        },
        STEP_TIMEOUT_MS.produce,
      );
      await this.#finish(offer, response);
    } catch (error) {
      this.#abandon(offer);
      stream.buffer.burnBelow(burnTo);
      throw error;
    }
  }

  /** KEM first, so that a failed KEM burns no QKD key. */
  async #prepare(first: number, count: number, degradedSlot: number): Promise<Offer> {
    const { keyPairs } = this.#services;
    const made = await Promise.allSettled(
      this.#stream.terms.slots.map(async (slot, i) =>
        isQkd(slot) || i === degradedSlot - 1
          ? undefined
          : keyPairs.generate(slot.algorithm, count, STEP_TIMEOUT_MS.generate),
      ),
    );
    const batches = made.map((result) => (result.status === 'fulfilled' ? result.value : undefined));
    try {
      const failed = made.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason;
      const usesQkd = this.#stream.terms.slots.some((slot, i) => isQkd(slot) && i !== degradedSlot - 1);
      const qkd = usesQkd ? await this.#qkd.reference() : undefined;
      return { first, count, keyPairs: batches, qkd, degradedSlot };
    } catch (error) {
      for (const batch of batches) if (batch) keyPairs.discard(batch);
      throw error;
    }
  }

  async #finish(offer: Offer, response: ProduceResponse): Promise<void> {
    const stream = this.#stream;
    const count = this.#assertResponse(offer, response);
    const contributions = await this.#contributions(offer, count, response);
    const derived = await deriveBatch(this.#services, stream, {
      first: offer.first,
      count,
      slots: contributions,
      qkd: offer.qkd,
      degradedSlot: offer.degradedSlot,
    });
    try {
      if (!equalBytes(derived.responderTags, response.responderTags)) {
        throw new KeyweaveError('AGREEMENT_FAILED', 'the two ends did not derive the same keys');
      }
      await this.#confirm(offer.first, count, derived.initiatorTags);
      if (!this.#stopped) stream.release(offer.first, derived.keys, offer.degradedSlot !== 0);
    } finally {
      wipe(derived.keys);
    }
  }

  #assertResponse(offer: Offer, response: ProduceResponse): number {
    const { count } = response;
    if (count < 1 || count > offer.count) {
      throw new KeyweaveError('AGREEMENT_FAILED', 'the other end answered for a wrong number of chunks');
    }
    const { slots } = this.#stream.terms;
    const expected = offer.keyPairs.flatMap((batch, slot) => (batch ? [slot] : []));
    const matches =
      response.ciphertexts.length === expected.length &&
      response.ciphertexts.every(
        (entry, i) =>
          entry.slot === expected[i] &&
          entry.ciphertexts.length === count * (slots[entry.slot]?.ciphertextBytes ?? -1),
      );
    if (!matches)
      throw new KeyweaveError('AGREEMENT_FAILED', 'the other end answered with ciphertexts of a wrong size');
    return count;
  }

  async #contributions(offer: Offer, count: number, response: ProduceResponse): Promise<SlotContribution[]> {
    const ciphertexts = new Map(
      response.ciphertexts.map((entry) => [entry.slot, entry.ciphertexts] as const),
    );
    const settled = await Promise.allSettled(
      this.#stream.terms.slots.map(async (slot, i): Promise<SlotContribution | undefined> => {
        if (i === offer.degradedSlot - 1) return { secrets: this.#standIn(i, offer.first, count) };
        if (isQkd(slot)) return undefined;
        const batch = offer.keyPairs[i] as KeyPairBatch;
        const received = ciphertexts.get(i) as Buffer;
        const secrets = await this.#services.keyPairs.decapsulate(
          batch,
          received,
          STEP_TIMEOUT_MS.decapsulate,
        );
        return { secrets, publicKeys: batch.publicKeys, ciphertexts: received };
      }),
    );
    const parts = settled.map((result) => (result.status === 'fulfilled' ? result.value : undefined));
    try {
      const failed = settled.find((result) => result.status === 'rejected');
      if (failed) throw failed.reason;
      return await this.#withQkd(parts, count);
    } catch (error) {
      wipe(...parts.map((part) => part?.secrets));
      throw error;
    }
  }

  /** Fills the QKD slots in: each takes `count` consecutive keys, in slot order. */
  async #withQkd(parts: (SlotContribution | undefined)[], count: number): Promise<SlotContribution[]> {
    const missing = parts.filter((part) => part === undefined).length;
    if (missing === 0) return parts as SlotContribution[];
    const keys = await this.#qkd.fetch(count * missing);
    if (keys.length !== count * missing * QKD_SECRET_BYTES) {
      wipe(keys);
      throw new KeyweaveError('INSUFFICIENT_KEY', 'the key manager of this node has run dry');
    }
    let next = 0;
    return parts.map((part) => {
      if (part) return part;
      const start = next++ * count * QKD_SECRET_BYTES;
      return { secrets: keys.subarray(start, start + count * QKD_SECRET_BYTES) };
    });
  }

  #standIn(slot: number, first: number, count: number): Buffer {
    const seed = this.#services.sharedSeed(this.#stream.peerNode) ?? '';
    return standInSecrets(seed, this.#stream, slot, first, count);
  }

  /**
   * Asks for the responder's decision until there is one: it alone decides
   * whether a batch is released, so that no chunk is ever released at one end
   * only because an answer was lost.
   */
  async #confirm(first: number, count: number, initiatorTags: Buffer): Promise<void> {
    const { peer } = this.#services;
    const stream = this.#stream;
    for (let attempt = 0; ; attempt++) {
      try {
        const request = { keyStreamId: stream.idBytes, firstIndex: first, count, initiatorTags };
        const decision = await peer(stream.peerNode).confirm(request, STEP_TIMEOUT_MS.confirm);
        if (decision.released) return;
        throw new KeyweaveError('AGREEMENT_FAILED', 'the other end has dropped the batch');
      } catch (error) {
        const undecided = isReason(
          error,
          'PEER_UNREACHABLE',
          'SERVICE_UNAVAILABLE',
          'TIMEOUT',
          'SHUTTING_DOWN',
        );
        if (!undecided || this.#stopped) throw error;
        stream.lastFailure = KeyweaveError.from(error);
        await this.#pause(Math.min(MAX_PAUSE_MS, RETRY_DELAY_MS * 2 ** Math.min(10, attempt)));
      }
    }
  }

  /** Wipes what this end holds of a failed batch, asks the other to, and leaves the QKD epoch if it was used. */
  #abandon(offer: Offer): void {
    for (const batch of offer.keyPairs) if (batch) this.#services.keyPairs.discard(batch);
    if (offer.qkd) this.#qkd.renew();
  }

  #settleOutcomes(error: KeyweaveError | undefined): void {
    const outcomes = this.#outcomes;
    this.#outcomes = [];
    for (const outcome of outcomes) {
      outcome.promise.catch(() => undefined);
      if (error) outcome.reject(error);
      else outcome.resolve();
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeEarly = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Chunks of one exchange such that every message stays within its budget and nobody waits long; at least one. */
export function batchLimit(stream: KeyStream, maxChunks: number): number {
  const sum = (of: (slot: (typeof stream.terms.slots)[number]) => number) =>
    stream.terms.slots.reduce((total, slot) => total + of(slot), 0);
  const largest = Math.max(
    sum((slot) => slot.publicKeyBytes),
    sum((slot) => slot.ciphertextBytes),
    stream.qos.keyChunkSize,
    1,
  );
  const byCost = stream.terms.slots.map(
    (slot) => BATCH_BY_COST[findKemAlgorithm(slot.algorithm)?.cost ?? 'light'],
  );
  return Math.max(1, Math.min(maxChunks, Math.floor(MAX_BATCH_BYTES / largest), ...byCost));
}
