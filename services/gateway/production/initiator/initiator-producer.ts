import { wipe } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { BatchAnswer, QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from '../../clients/node-services.ts';
import { QkdStream } from '../../clients/qkd-stream.ts';
import type { KeyStream, Producer } from '../../streams/key-stream.ts';
import { countQkdSlots, isQkd, QKD_SECRET_BYTES } from '../../streams/stream-terms.ts';
import { batchLimit, costOf } from '../batch-limit.ts';
import { InitiatorRecovery, type Remedy } from './initiator-recovery.ts';
import { QkdBlocks } from './qkd-blocks.ts';

/** Batches of one stream that are agreed but not yet confirmed: with one more on its way neither end is idle. */
const MAX_UNCONFIRMED = 2;

/** Why chunks that the other end had asked for could not be made is told to it within this, or not at all. */
const TELL_WITHIN_MS = 5_000;

/** Where a supply asks for a place in the next round. */
export interface RoundQueue {
  enqueue(supply: InitiatorProducer): void;
}

/** Chunks of one stream that take part in a round. */
export interface Batch {
  readonly supply: InitiatorProducer;
  readonly stream: KeyStream;
  readonly first: number;
  readonly count: number;
  /** Undefined where no slot takes QKD keys. */
  readonly qkd: QkdReference | undefined;
  /** Slot that a shared_seed stands in for, plus one; 0 = none. */
  readonly degradedSlot: number;
}

/**
 * The initiator's supply of one stream: how many chunks are wanted, which
 * indexes a batch takes, and what becomes of them. The rounds that make the
 * batches are the scheduler's, what follows from a failure is the recovery's. One batch is offered at a time;
 * the ones before it may still be on their way to confirmation.
 */
export class InitiatorProducer implements Producer {
  readonly stream: KeyStream;
  readonly qkd: QkdStream;
  /** Chunks of one batch at most, here and, once it has said so, at the other end. */
  #batchLimit: number;
  /** Whether the stream's batches may share rounds with other streams': no KEM of it is slow. */
  readonly isLight: boolean;
  readonly #services: NodeServices;
  readonly #rounds: RoundQueue;
  readonly #qkdSlots: number;
  readonly #blockSize: QkdBlocks;
  readonly #recovery: InitiatorRecovery;
  /** Chunks that this end lacks, and that the other end has asked for. */
  #wanted = 0;
  #demanded = 0;
  /** The other end's application waits for what it has asked for. */
  #demandWaits = false;
  /** The other end has asked since chunks were last released; why they could not be made, and since when. */
  #wasAsked = false;
  #untold: { readonly error: KeyweaveError; readonly sinceMs: number } | undefined;
  /** First index that no batch has taken yet. */
  #nextIndex = 0;
  #offering = false;
  #unconfirmed = 0;
  #coming = 0;
  #preparing = false;
  /** Batches of this epoch may be offered: its QKD stream is open, or opens when the other end comes, too. */
  #isReadable = false;
  #stopped = false;
  /** Releases go in the order of the indexes. */
  #settling: Promise<void> = Promise.resolve();
  #lastTurn: Promise<void> = Promise.resolve();

  constructor(services: NodeServices, stream: KeyStream, rounds: RoundQueue) {
    this.#services = services;
    this.#rounds = rounds;
    this.stream = stream;
    this.#qkdSlots = stream.terms.slots.filter(isQkd).length;
    this.#recovery = new InitiatorRecovery(services, stream);
    this.#batchLimit = batchLimit(stream, services.limits.max_batch_chunks);
    this.isLight = stream.terms.slots.every((slot) => costOf(slot.algorithm) === 'light');
    this.qkd = new QkdStream({
      services,
      keyStreamId: stream.idBytes,
      initiatorNode: stream.terms.sourceNode,
      responderNode: stream.terms.destinationNode,
      keyBytes: QKD_SECRET_BYTES,
      // So that key managers that pair by URIs do not pair what an earlier stream of this KSID has left.
      firstEpoch: stream.incarnation.readUIntBE(0, 3),
    });
    this.#blockSize = new QkdBlocks(services.qkd, this.qkd);
  }

  get coming(): number {
    return this.#coming;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Somebody waits for the chunks, at this end or the other. */
  get urgent(): boolean {
    return this.stream.buffer.waiting > 0 || (this.#demanded > 0 && this.#demandWaits);
  }

  /** Makes its rounds alone, so that its trouble or first contact with the key managers delays nobody. */
  get alone(): boolean {
    return !this.isLight || this.#recovery.isDoubtful;
  }

  /** Chunks that may be offered now. */
  get offerable(): number {
    if (this.#stopped || this.#offering || this.#unconfirmed >= MAX_UNCONFIRMED) return 0;
    if (this.#recovery.isPaused || !this.#isPrepared) return 0;
    // Blocks change size between epochs, and an epoch ends with its last batch.
    if (this.#unconfirmed > 0 && this.#wantedBlockKeys !== this.qkd.blockKeys) return 0;
    return Math.min(Math.max(this.#wanted, this.#demanded), this.#batchLimit);
  }

  /** A batch is of a multiple of so many chunks: those of one block of QKD keys. */
  get unit(): number {
    const chunks = this.qkd.blockKeys / Math.max(1, this.#qkdSlots);
    return Number.isInteger(chunks) ? Math.min(this.#batchLimit, chunks) : 1;
  }

  want(count: number): void {
    this.#wanted = count;
    this.#offer();
  }

  /**
   * The other end asks for chunks, which go to it as they are made.
   *
   * @throws KeyweaveError why those that it asked for before could not be made,
   *   once; UNKNOWN_STREAM when the stream has ended here.
   */
  demand(count: number, waitedFor: boolean): void {
    if (this.#stopped) throw new KeyweaveError('UNKNOWN_STREAM', 'the other end has closed this stream');
    const untold = this.#untold;
    this.#untold = undefined;
    if (untold && this.#services.now() - untold.sinceMs <= TELL_WITHIN_MS) throw untold.error;
    this.#wasAsked = true;
    this.#demandWaits = waitedFor;
    this.#demanded = Math.max(this.#demanded, count - this.#coming, this.#coming > 0 ? 0 : 1);
    this.#offer();
  }

  /** Resolves when every batch that both ends have agreed on is released or dropped here, or after `limitMs`. */
  async settled(limitMs: number): Promise<void> {
    await waitFor(this.#settling, limitMs);
  }

  stop(): void {
    this.#stopped = true;
    this.#recovery.stop();
    this.qkd.end();
  }

  /**
   * Takes the next indexes for a batch of about `wanted` chunks, whole blocks
   * of QKD keys where they are read in blocks; the caller sees it through to `end`.
   */
  begin(wanted: number): Batch {
    const { stream } = this;
    const count = this.#wholeBlocks(wanted);
    const { degradedSlot } = this.#recovery;
    this.#nextIndex = Math.max(this.#nextIndex, stream.buffer.nextIndex);
    const first = this.#nextIndex;
    this.#offering = true;
    this.#coming += count;
    this.#wanted = Math.max(0, this.#wanted - count);
    this.#demanded = Math.max(0, this.#demanded - count);
    stream.countHeld();
    return {
      supply: this,
      stream,
      first,
      count,
      qkd: this.#usesQkd ? this.qkd.reference() : undefined,
      degradedSlot,
    };
  }

  /** The other end cannot be reached, as another stream's round has just shown: an attempt that costs nothing. */
  refuse(error: KeyweaveError): void {
    if (this.#stopped || this.#recovery.isPaused) return;
    this.stream.lastFailure = error;
    const remedy = this.#recovery.failed(0, error);
    if (remedy !== 'again') this.#afterAttempt(remedy, error, 0);
  }

  /**
   * The responder has made `made` chunks of the batch: the next one may be offered.
   * What it says of itself holds for the batches to come: how many chunks it
   * makes of one offer at most, which QKD keys in one block its key manager
   * is known to give (0 each where it did not say).
   */
  answered(batch: Batch, { count: made, most, qkdBlockKeys }: BatchAnswer): void {
    this.#blockSize.notePeer(qkdBlockKeys);
    this.#offering = false;
    this.#unconfirmed += 1;
    this.#nextIndex = batch.first + made;
    this.#coming -= batch.count - made;
    // An epoch that has begun since the offer is read from its first key.
    if (batch.qkd?.epoch === this.qkd.epoch) this.qkd.reserve(made * this.#qkdSlots);
    const fits = most === 0 ? batch.count : Math.min(batch.count, most);
    if (most > 0 && most < this.#batchLimit) this.#batchLimit = most;
    if (made < fits) this.stream.depth.noteScarcity(this.#services.now());
    this.stream.refill();
  }

  /** A turn at this end's QKD keys, which batches read one after the other; resolves when it has come. */
  turn(): { come: Promise<void>; over: () => void } {
    const come = this.#lastTurn;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#lastTurn = promise;
    return { come, over: resolve };
  }

  /**
   * Ends a batch: releases `keys` once the responder is known to have released
   * them, or notes the failure. Batches end in the order of their indexes.
   *
   * @param made chunks of the batch that both ends had agreed on; 0 when it failed before that.
   * @param outcome resolves to the keys end to end, which are the stream's from then on.
   */
  end(batch: Batch, made: number, outcome: Promise<Buffer>): void {
    const before = this.#settling;
    this.#settling = Promise.allSettled([outcome, before]).then(([result]) => {
      const count = made === 0 ? batch.count : made;
      if (made === 0) this.#offering = false;
      else this.#unconfirmed -= 1;
      this.#coming -= count;
      this.stream.countHeld();
      if (result.status === 'fulfilled') {
        this.#released(batch, result.value);
      } else if (made === 0 && isReason(result.reason, 'NO_ROOM')) {
        this.#waitForRoom(result.reason);
      } else {
        if (!this.#stopped) this.stream.buffer.burnBelow(batch.first + count);
        this.#failed(batch, KeyweaveError.from(result.reason), result.reason);
      }
    });
  }

  #released(batch: Batch, keys: Buffer): void {
    if (this.#stopped) {
      wipe(keys);
      return;
    }
    this.#recovery.succeeded(batch.qkd !== undefined);
    this.stream.release(batch.first, keys, batch.degradedSlot !== 0);
    this.#wasAsked = false;
    this.#untold = undefined;
    const blockKeys = this.#wantedBlockKeys;
    if (blockKeys !== this.qkd.blockKeys && !this.#offering && this.#unconfirmed === 0)
      this.#renew(blockKeys);
    this.stream.refill();
  }

  /**
   * The other end is full and has taken nothing of the batch, so that neither
   * indexes nor QKD keys are used up. It is no trouble: who waits goes on
   * waiting, and is told what for when the time has run out.
   */
  #waitForRoom(error: KeyweaveError): void {
    if (this.#stopped) return;
    const { stream } = this;
    const { log, now } = this.#services;
    log.debug('the other end has no room', { ksid: stream.id, detail: error.detail });
    stream.lastFailure = error;
    stream.depth.noteScarcity(now());
    this.#demanded = 0;
    this.#tellWhoAsked(error);
    this.#recovery.pauseForRoom(() => stream.refill());
  }

  /** The other end learns of it in the answer to its next question. */
  #tellWhoAsked(error: KeyweaveError): void {
    if (this.#wasAsked) this.#untold = { error, sinceMs: this.#services.now() };
    this.#wasAsked = false;
  }

  /** After a few attempts those who wait are told. */
  #failed(batch: Batch, error: KeyweaveError, thrown: unknown): void {
    const { stream } = this;
    const { log } = this.#services;
    const isAftermath = batch.qkd !== undefined && batch.qkd.epoch !== this.qkd.epoch;
    if (batch.qkd && !isAftermath) this.#renew();
    if (this.#stopped) return;
    const fields = { ksid: stream.id, first: batch.first, reason: error.reason, detail: error.detail };
    log.warning('a batch was dropped', fields, thrown);
    this.#services.sourceFaults.note(stream, batch.first, error);
    stream.lastFailure = error;
    if (isReason(error, 'UNKNOWN_STREAM')) {
      stream.peerClosed('the other node no longer knows this stream; open a new one');
      return;
    }
    if (isAftermath || this.#gaveUpBlocks(batch, error)) {
      this.#again(batch.count);
      return;
    }
    const remedy = this.#recovery.failed(batch.degradedSlot, error);
    if (remedy === 'again') {
      this.#again(batch.count);
      return;
    }
    this.#afterAttempt(remedy, error, batch.count);
  }

  /** A batch of about `count` chunks has failed, or was not worth trying. */
  #afterAttempt(remedy: Remedy, error: KeyweaveError, count: number): void {
    const { stream } = this;
    if (isReason(error, 'INSUFFICIENT_KEY')) stream.depth.noteScarcity(this.#services.now());
    if (remedy === 'give up') {
      this.#wanted = 0;
      this.#demanded = 0;
      stream.failWaiters(error);
      this.#tellWhoAsked(error);
    } else this.#wanted = Math.max(this.#wanted, count);
    this.#recovery.pause(() => this.#offer());
  }

  /** A key manager at either end that does not give blocks after all is asked for single keys. */
  #gaveUpBlocks(batch: Batch, error: KeyweaveError): boolean {
    if (batch.qkd === undefined || batch.qkd.blockKeys === 1) return false;
    if (!this.#blockSize.isBlamedFor(error)) return false;
    this.#renew(1);
    return true;
  }

  #again(count: number): void {
    this.#wanted = Math.max(this.#wanted, count);
    this.#offer();
  }

  /** Whether the next batch takes QKD keys. */
  get #usesQkd(): boolean {
    return countQkdSlots(this.stream.terms, this.#recovery.degradedSlot) > 0;
  }

  get #isPrepared(): boolean {
    return !this.#usesQkd || this.#isReadable;
  }

  #offer(): void {
    if (this.#stopped || (this.#wanted === 0 && this.#demanded === 0)) return;
    if (!this.#isPrepared) void this.#prepare();
    else if (this.offerable > 0) this.#rounds.enqueue(this);
  }

  /** Opens the QKD stream outside of any round, since a key manager may take its time. */
  async #prepare(): Promise<void> {
    if (this.#preparing || this.#recovery.isPaused) return;
    this.#preparing = true;
    const { epoch, blockKeys } = this.qkd;
    let failure: { thrown: unknown } | undefined;
    try {
      await this.qkd.prepare();
    } catch (thrown) {
      failure = { thrown };
    }
    this.#preparing = false;
    // What became of an epoch that has been left meanwhile says nothing about the next one.
    if (epoch === this.qkd.epoch) {
      if (failure) {
        this.#notOpened(blockKeys, failure.thrown);
        return;
      }
      this.#isReadable = true;
    }
    this.#offer();
  }

  #notOpened(blockKeys: number, thrown: unknown): void {
    if (blockKeys > 1) {
      this.#blockSize.refuse();
      this.qkd.renew(1);
      this.#offer();
      return;
    }
    const { stream } = this;
    this.#failed(
      { supply: this, stream, first: this.#nextIndex, count: 1, qkd: undefined, degradedSlot: 0 },
      KeyweaveError.from(thrown),
      thrown,
    );
  }

  #renew(blockKeys?: number): void {
    this.#isReadable = false;
    this.qkd.renew(blockKeys);
  }

  get #wantedBlockKeys(): number {
    return this.#qkdSlots === 0 ? this.qkd.blockKeys : this.#blockSize.wanted(this.stream.depth.depth);
  }

  /** A batch that ends within a block loses the rest of it. */
  #wholeBlocks(count: number): number {
    return Math.max(1, Math.floor(count / this.unit)) * this.unit;
  }
}
