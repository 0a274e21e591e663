import { wipe } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { Clock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { BatchAnswer } from '#gen/keyweave/v1/key_agreement.ts';
import { QkdStream, type QkdStreamTools } from '../../clients/qkd-stream.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import type { Producer } from '../../streams/producer.ts';
import { countQkdSlots, isQkd, QKD_SECRET_BYTES } from '../../streams/stream-terms.ts';
import type { Batch } from '../batch.ts';
import { batchLimit, costOf } from '../batch-limit.ts';
import { Demands } from './demands.ts';
import { InitiatorRecovery, type Remedy } from './initiator-recovery.ts';
import { QkdBlocks } from './qkd-blocks.ts';

/** Batches of one stream that are agreed but not yet confirmed: with one more on its way neither end is idle. */
const MAX_UNCONFIRMED = 2;

/** Where a producer asks for a place in the next round. */
export interface RoundQueue {
  enqueue(producer: InitiatorProducer): void;
}

export interface InitiatorProducerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly rounds: RoundQueue;
  readonly qkd: QkdStreamTools;
  /** QKD keys of one block at most (`qkd.block_keys`). */
  readonly maxBlockKeys: number;
  /** Chunks of one batch at most (`limits.max_batch_chunks`). */
  readonly maxBatchChunks: number;
}

/** One batch at a time is offered to the other end; `docs/exchange.md` draws the moves. */
type Phase = 'idle' | 'offering' | 'stopped';

/**
 * Where a producer stands. Only `ready` offers a batch:
 *
 * - `offering`: one lies with the other end, which has not answered;
 * - `paused`: after a failure, until the pause is over;
 * - `unprepared`, `preparing`: its QKD stream has to be opened, or is being;
 * - `confirming`: so many batches wait for confirmation that the next one has to, too;
 * - `stopped`: for good.
 */
export type ProducerState =
  | 'ready'
  | 'paused'
  | 'unprepared'
  | 'preparing'
  | 'confirming'
  | Exclude<Phase, 'idle'>;

/**
 * The initiator's producer of one stream: how many chunks are wanted, which
 * indexes a batch takes, and what becomes of them. The rounds that make the
 * batches are the scheduler's, what follows from a failure is the recovery's.
 * One batch is offered at a time; the ones before it may still be on their way
 * to confirmation.
 */
export class InitiatorProducer implements Producer {
  readonly role = 'initiator';
  readonly stream: KeyStream;
  readonly qkd: QkdStream;
  /** Whether the stream's batches may share rounds with other streams': no KEM of it is slow. */
  readonly isLight: boolean;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #rounds: RoundQueue;
  readonly #qkdSlots: number;
  readonly #blocks: QkdBlocks;
  readonly #recovery: InitiatorRecovery;
  readonly #demands = new Demands();
  /** Chunks of one batch at most, here and, once it has said so, at the other end. */
  #batchLimit: number;
  #phase: Phase = 'idle';
  #unconfirmed = 0;
  #coming = 0;
  /** Releases go in the order of the indexes. */
  #settling: Promise<void> = Promise.resolve();
  #lastTurn: Promise<void> = Promise.resolve();

  constructor(stream: KeyStream, options: InitiatorProducerOptions) {
    const { clock, log, rounds, qkd, maxBlockKeys, maxBatchChunks } = options;
    this.#clock = clock;
    this.#log = log;
    this.#rounds = rounds;
    this.stream = stream;
    this.#qkdSlots = stream.terms.slots.filter(isQkd).length;
    this.#recovery = new InitiatorRecovery(clock, stream);
    this.#batchLimit = batchLimit(stream, maxBatchChunks);
    this.isLight = stream.terms.slots.every((slot) => costOf(slot.algorithm) === 'light');
    this.qkd = new QkdStream({
      tools: qkd,
      keyStreamId: stream.idBytes,
      initiatorNode: stream.terms.sourceNode,
      responderNode: stream.terms.destinationNode,
      keyBytes: QKD_SECRET_BYTES,
      // So that key managers that pair by URIs do not pair what an earlier stream of this KSID has left.
      firstEpoch: stream.incarnation.readUIntBE(0, 3),
    });
    this.#blocks = new QkdBlocks(maxBlockKeys, this.qkd);
  }

  get coming(): number {
    return this.#coming;
  }

  get stopped(): boolean {
    return this.#phase === 'stopped';
  }

  get state(): ProducerState {
    if (this.#phase !== 'idle') return this.#phase;
    if (this.#recovery.isPaused) return 'paused';
    if (!this.#isPrepared) return this.qkd.phase === 'preparing' ? 'preparing' : 'unprepared';
    if (this.#unconfirmed >= MAX_UNCONFIRMED) return 'confirming';
    // Blocks change size between epochs, and an epoch ends with its last batch.
    if (this.#unconfirmed > 0 && this.#wantedBlockKeys !== this.qkd.blockKeys) return 'confirming';
    return 'ready';
  }

  /** Somebody waits for the chunks, at this end or the other. */
  get urgent(): boolean {
    return this.stream.buffer.waiting > 0 || this.#demands.waitsThere;
  }

  /** Makes its rounds alone, so that its trouble or first contact with the key managers delays nobody. */
  get alone(): boolean {
    return !this.isLight || this.#recovery.isDoubtful;
  }

  /** Chunks that may be offered now. */
  get offerable(): number {
    if (this.state !== 'ready') return 0;
    // Others may have taken the room that there was when the chunks were asked for.
    return Math.min(this.#demands.count, this.#batchLimit, this.stream.peerRoom);
  }

  /** A batch is of a multiple of so many chunks: those of one block of QKD keys. */
  get unit(): number {
    const chunks = this.qkd.blockKeys / Math.max(1, this.#qkdSlots);
    return Number.isInteger(chunks) ? Math.min(this.#batchLimit, chunks) : 1;
  }

  want(count: number): void {
    this.#demands.want(count);
    this.#offer();
  }

  /**
   * The other end asks for chunks, which go to it as they are made.
   *
   * @throws KeyweaveError why those that it asked for before could not be made,
   *   once; UNKNOWN_STREAM when the stream has ended here.
   */
  demand(count: number, waits: boolean): void {
    if (this.stopped) throw new KeyweaveError('UNKNOWN_STREAM', 'the other end has closed this stream');
    this.#demands.ask(count, { waits, coming: this.#coming, nowMs: this.#clock.monotonicMs() });
    this.#offer();
  }

  /** Resolves when every batch that both ends have agreed on is released or dropped here, or after `limitMs`. */
  async settled(limitMs: number): Promise<void> {
    await waitFor(this.#settling, limitMs, undefined, this.#clock);
  }

  stop(): void {
    this.#phase = 'stopped';
    this.#recovery.stop();
    this.qkd.end();
  }

  /**
   * Takes the next indexes for a batch of about `wanted` chunks, whole blocks
   * of QKD keys where they are read in blocks; the caller sees it through to `end`.
   */
  begin(wanted: number): Batch<InitiatorProducer> {
    const { stream } = this;
    const count = this.#wholeBlocks(wanted);
    const first = stream.indexes.allot(count);
    this.#phase = 'offering';
    this.#coming += count;
    this.#demands.begun(count);
    stream.countHeld();
    const qkd = this.#usesQkd ? this.qkd.reference() : undefined;
    return { producer: this, stream, first, count, qkd, standIn: this.#recovery.standIn };
  }

  /** The other end cannot be reached, as another stream's round has just shown: an attempt that costs nothing. */
  refuse(error: KeyweaveError): void {
    if (this.stopped || this.#recovery.isPaused) return;
    this.stream.noteFailure(error);
    const remedy = this.#recovery.failed(undefined, error);
    if (remedy !== 'again') this.#afterAttempt(remedy, error, 0);
  }

  /**
   * The responder has made `made` chunks of the batch: the next one may be offered.
   * What it says of itself holds for the batches to come: how many chunks it
   * makes of one offer at most, which QKD keys in one block its key manager
   * is known to give (0 each where it did not say).
   */
  answered(batch: Batch, { count: made, most, qkdBlockKeys }: BatchAnswer): void {
    this.#blocks.notePeer(qkdBlockKeys);
    this.#offerIsOver();
    this.#unconfirmed += 1;
    this.stream.indexes.shorten(batch.first, made);
    this.#coming -= batch.count - made;
    // An epoch that has begun since the offer is read from its first key.
    if (batch.qkd?.epoch === this.qkd.epoch) this.qkd.reserve(made * this.#qkdSlots);
    const fits = most === 0 ? batch.count : Math.min(batch.count, most);
    if (most > 0 && most < this.#batchLimit) this.#batchLimit = most;
    if (made < fits) this.stream.depth.noteScarcity(this.#clock.monotonicMs());
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
      if (made === 0) this.#offerIsOver();
      else this.#unconfirmed -= 1;
      this.#coming -= count;
      this.stream.countHeld();
      if (result.status === 'fulfilled') this.#released(batch, result.value);
      else if (made === 0 && isReason(result.reason, 'NO_ROOM')) this.#waitForRoom(batch, result.reason);
      else this.#dropped(batch, count, result.reason);
    });
  }

  #offerIsOver(): void {
    if (this.#phase === 'offering') this.#phase = 'idle';
  }

  #released(batch: Batch, keys: Buffer): void {
    if (this.stopped) {
      wipe(keys);
      return;
    }
    this.#recovery.succeeded(batch.qkd !== undefined);
    this.#demands.met();
    this.stream.release(batch.first, keys, batch.standIn !== undefined);
    const blockKeys = this.#wantedBlockKeys;
    if (blockKeys !== this.qkd.blockKeys && this.#phase === 'idle' && this.#unconfirmed === 0)
      this.qkd.renew(blockKeys);
    this.stream.refill();
  }

  /**
   * The other end is full and has taken nothing of the batch, so that neither
   * indexes nor QKD keys are used up. It is no trouble: who waits goes on
   * waiting, and is told what for when the time has run out.
   */
  #waitForRoom({ first }: Batch, error: KeyweaveError): void {
    if (this.stopped) return;
    const { stream } = this;
    const now = this.#clock.monotonicMs();
    this.#log.debug('the other end has no room', { ksid: stream.id, detail: error.detail });
    stream.indexes.giveBack(first);
    stream.noteFailure(error);
    stream.depth.noteScarcity(now);
    this.#demands.noRoomThere(error, now);
    this.#recovery.pauseForRoom(() => stream.refill());
  }

  #dropped(batch: Batch, count: number, thrown: unknown): void {
    const error = KeyweaveError.from(thrown);
    if (!this.stopped) this.stream.drop(batch.first, count, error);
    this.#failed(batch, error, thrown);
  }

  /** After a few attempts those who wait are told. */
  #failed(batch: Omit<Batch, 'producer'>, error: KeyweaveError, thrown: unknown): void {
    const { stream } = this;
    const isAftermath = batch.qkd !== undefined && batch.qkd.epoch !== this.qkd.epoch;
    if (batch.qkd && !isAftermath) this.qkd.renew();
    if (this.stopped) return;
    const fields = { ksid: stream.id, first: batch.first, reason: error.reason, detail: error.detail };
    this.#log.warning('a batch was dropped', fields, thrown);
    stream.noteFailure(error);
    if (isReason(error, 'UNKNOWN_STREAM')) {
      stream.peerClosed('the other node no longer knows this stream; open a new one');
      return;
    }
    if (isAftermath || this.#gaveUpBlocks(batch, error)) {
      this.#again(batch.count);
      return;
    }
    const remedy = this.#recovery.failed(batch.standIn, error);
    if (remedy === 'again') {
      this.#again(batch.count);
      return;
    }
    this.#afterAttempt(remedy, error, batch.count);
  }

  /** A batch of about `count` chunks has failed, or was not worth trying. */
  #afterAttempt(remedy: Remedy, error: KeyweaveError, count: number): void {
    const { stream } = this;
    const now = this.#clock.monotonicMs();
    if (isReason(error, 'INSUFFICIENT_KEY')) stream.depth.noteScarcity(now);
    if (remedy === 'give up') {
      stream.failWaiters(error);
      this.#demands.giveUp(error, now);
    } else this.#demands.wantAgain(count);
    this.#recovery.pause(() => this.#offer());
  }

  /** A key manager at either end that does not give blocks after all is asked for single keys. */
  #gaveUpBlocks({ qkd }: Pick<Batch, 'qkd'>, error: KeyweaveError): boolean {
    if (qkd === undefined || qkd.blockKeys === 1) return false;
    if (!this.#blocks.isBlamedFor(error)) return false;
    this.qkd.renew(1);
    return true;
  }

  #again(count: number): void {
    this.#demands.wantAgain(count);
    this.#offer();
  }

  /** Whether the next batch takes QKD keys. */
  get #usesQkd(): boolean {
    return countQkdSlots(this.stream.terms, this.#recovery.standIn) > 0;
  }

  get #isPrepared(): boolean {
    return !this.#usesQkd || this.qkd.phase === 'ready';
  }

  #offer(): void {
    if (this.stopped || this.#demands.count === 0) return;
    if (!this.#isPrepared) void this.#prepare();
    else if (this.offerable > 0) this.#rounds.enqueue(this);
  }

  /** Opens the QKD stream outside of any round, since a key manager may take its time. */
  async #prepare(): Promise<void> {
    if (this.qkd.phase === 'preparing' || this.#recovery.isPaused) return;
    const { epoch, blockKeys } = this.qkd;
    try {
      await this.qkd.prepare();
    } catch (thrown) {
      // What became of an epoch that has been left meanwhile says nothing about the next one.
      if (epoch === this.qkd.epoch) {
        this.#notOpened(blockKeys, thrown);
        return;
      }
    }
    this.#offer();
  }

  #notOpened(blockKeys: number, thrown: unknown): void {
    if (blockKeys > 1) {
      this.#blocks.refuse();
      this.qkd.renew(1);
      this.#offer();
      return;
    }
    const { stream } = this;
    const batch = { stream, first: stream.indexes.next, count: 1, qkd: undefined, standIn: undefined };
    this.#failed(batch, KeyweaveError.from(thrown), thrown);
  }

  get #wantedBlockKeys(): number {
    return this.#qkdSlots === 0 ? this.qkd.blockKeys : this.#blocks.wanted(this.stream.depth.depth);
  }

  /** A batch that ends within a block loses the rest of it. */
  #wholeBlocks(count: number): number {
    return Math.max(1, Math.floor(count / this.unit)) * this.unit;
  }
}
