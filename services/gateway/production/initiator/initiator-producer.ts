import { wipe } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { Clock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { BatchAnswer } from '#gen/keyweave/v1/key_agreement.ts';
import type { Reservoirs } from '../../reservoirs/reservoirs.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import type { Producer } from '../../streams/producer.ts';
import { countQkdSlots } from '../../streams/stream-terms.ts';
import { type Batch, degradedOf, qkdSlotsOf } from '../batch.ts';
import { batchLimit, costOf } from '../batch-limit.ts';
import { Demands } from './demands.ts';
import { InitiatorRecovery, type Remedy } from './initiator-recovery.ts';
import { type QkdDemand, QkdPortion } from './qkd-portion.ts';

/** Batches of one stream that are agreed but not yet confirmed: with one more on its way neither end is idle. */
const MAX_UNCONFIRMED = 2;

/** Failures after which the two ends may not read the same QKD keys any more. */
const STEP_REASONS = ['QKD_OUT_OF_STEP', 'QKD_UNAVAILABLE', 'AGREEMENT_FAILED', 'SOURCE_FAULT'] as const;

/** A stream waits for others no longer than its own keys last less this, the time of a few rounds. */
const HURRY_MS = 40;

/** A stream that may come along with another one's batch does so though nearly all of its depth is there. */
const INVITED_WATER = 0.9;

/** Share of scarce things that a stream gets by its QoS priority: one more for each step, up to this. */
const MAX_WEIGHT = 8;

/** A batch of all that the stream names. */
const WHOLE = { standIn: undefined, leftOut: undefined };

/** Where a producer asks for a place in the next round. */
export interface RoundQueue {
  enqueue(producer: InitiatorProducer): void;
}

export interface InitiatorProducerOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly rounds: RoundQueue;
  readonly reservoirs: Reservoirs;
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
 * - `waiting`: for QKD keys;
 * - `confirming`: so many batches wait for confirmation that the next one has to, too;
 * - `stopped`: for good.
 */
export type ProducerState = 'ready' | 'paused' | 'waiting' | 'confirming' | Exclude<Phase, 'idle'>;

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
  /** Undefined where no slot takes QKD keys. */
  readonly qkd: QkdPortion | undefined;
  /** Whether the stream's batches may share rounds with other streams': no KEM of it is slow. */
  readonly isLight: boolean;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #rounds: RoundQueue;
  readonly #recovery: InitiatorRecovery;
  readonly #demands = new Demands();
  /** Chunks of one batch at most, here and, once it has said so, at the other end. */
  #batchLimit: number;
  #phase: Phase = 'idle';
  #unconfirmed = 0;
  #coming = 0;
  /** Releases go in the order of the indexes. */
  #settling: Promise<void> = Promise.resolve();

  constructor(stream: KeyStream, options: InitiatorProducerOptions) {
    const { clock, log, rounds, reservoirs, maxBatchChunks } = options;
    this.#clock = clock;
    this.#log = log;
    this.#rounds = rounds;
    this.stream = stream;
    this.#recovery = new InitiatorRecovery(clock, stream, reservoirs.areShared);
    this.#batchLimit = batchLimit(stream, maxBatchChunks);
    this.isLight = stream.terms.slots.every((slot) => costOf(slot.algorithm) === 'light');
    const usesQkd = countQkdSlots(stream.terms, undefined) > 0;
    this.qkd = usesQkd ? new QkdPortion(stream, reservoirs, this.#qkdDemand(), clock.monotonicMs) : undefined;
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
    if (this.#unconfirmed >= MAX_UNCONFIRMED) return 'confirming';
    return this.#usesQkd && this.qkd?.chunks === 0 ? 'waiting' : 'ready';
  }

  /** Somebody waits for the chunks, at this end or the other. */
  get urgent(): boolean {
    return this.stream.buffer.waiting > 0 || this.#demands.waitsThere;
  }

  /** How long its next batch may wait for those of other streams, milliseconds: not while somebody waits, or will in a moment. */
  get patienceMs(): number {
    const { buffer, depth } = this.stream;
    return this.urgent ? 0 : Math.max(0, depth.lastsMs(buffer.size) - HURRY_MS);
  }

  /** Its share of a round, and of scarce QKD keys, from 1. */
  get weight(): number {
    return Math.min(MAX_WEIGHT, 1 + this.stream.qos.priority);
  }

  /** Makes its rounds alone, so that its trouble or first contact with the key managers delays nobody. */
  get alone(): boolean {
    return !this.isLight || this.#recovery.isDoubtful || this.#recovery.leftOut !== undefined;
  }

  /** Chunks that may be offered now. */
  get offerable(): number {
    if (this.state !== 'ready') return 0;
    // Others may have taken the room that there was when the chunks were asked for.
    const most = Math.min(this.#demands.count, this.#batchLimit, this.stream.peerRoom);
    return this.#usesQkd ? Math.min(most, this.qkd?.chunks ?? 0) : most;
  }

  want(count: number): void {
    this.#demands.want(count);
    this.#offer();
    if (count === 0 && !this.stopped) this.qkd?.warm();
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
    this.qkd?.stop();
  }

  /** Takes the next indexes for a batch of `count` chunks, which may be offered; the caller sees it through to `end`. */
  begin(count: number): Batch<InitiatorProducer> {
    const { stream } = this;
    const first = stream.indexes.allot(count);
    this.#phase = 'offering';
    this.#coming += count;
    this.#demands.begun(count);
    stream.countHeld();
    const keys = this.#usesQkd ? this.qkd?.take(count) : undefined;
    const { qkd, grant } = keys ?? { qkd: undefined, grant: undefined };
    const { standIn, leftOut } = this.#recovery;
    return { producer: this, stream, first, count, qkd, grant, standIn, leftOut };
  }

  /** Its turn came, and there was no room for a batch: others may have its QKD keys. */
  passed(): void {
    if (this.#phase !== 'offering') this.qkd?.putBack();
  }

  /** The other end cannot be reached, as another stream's round has just shown: an attempt that costs nothing. */
  refuse(error: KeyweaveError): void {
    this.qkd?.putBack();
    if (this.stopped || this.#recovery.isPaused) return;
    this.stream.noteFailure(error);
    const remedy = this.#recovery.failed(WHOLE, error);
    if (remedy !== 'again') this.#afterAttempt(remedy, error, 0);
  }

  /**
   * The responder has made `made` chunks of the batch: the next one may be offered.
   * What it says of itself holds for the batches to come: how many chunks it
   * makes of one offer at most, which QKD keys in one block its key manager
   * is known to give (0 each where it did not say).
   */
  answered(batch: Batch, { count: made, most, qkdBlockKeys }: BatchAnswer): void {
    this.qkd?.notePeerBlocks(qkdBlockKeys);
    this.#offerIsOver();
    this.#unconfirmed += 1;
    this.stream.indexes.shorten(batch.first, made);
    this.#coming -= batch.count - made;
    const fits = most === 0 ? batch.count : Math.min(batch.count, most);
    if (most > 0 && most < this.#batchLimit) this.#batchLimit = most;
    if (made < fits) this.stream.depth.noteScarcity(this.#clock.monotonicMs());
    this.stream.refill();
  }

  /**
   * Ends a batch: releases `keys` once the responder is known to have released
   * them, or notes the failure. Batches end in the order in which they come here.
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
      if (result.status === 'fulfilled') this.#released(batch, count, result.value);
      else if (made === 0 && isReason(result.reason, 'NO_ROOM')) this.#waitForRoom(batch, result.reason);
      else this.#dropped(batch, count, result.reason);
    });
  }

  #offerIsOver(): void {
    if (this.#phase === 'offering') this.#phase = 'idle';
  }

  #released(batch: Batch, count: number, keys: Buffer): void {
    if (this.stopped) {
      wipe(keys);
      return;
    }
    if (!this.stream.indexes.mayBeReleased(batch.first)) {
      wipe(keys);
      const detail =
        'the other end says that it has released a batch which the release of a later one had ended';
      this.#dropped(batch, count, new KeyweaveError('AGREEMENT_FAILED', detail));
      return;
    }
    this.#recovery.succeeded(batch);
    if (batch.qkd) this.qkd?.succeeded();
    this.#demands.met();
    this.stream.release(batch.first, keys, degradedOf(batch));
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
    const isAftermath = batch.grant?.sequence.ended === true;
    // A node that has lost the stream was started anew: it has lost its place in the QKD keys, too.
    const reasons = this.stopped ? STEP_REASONS : ([...STEP_REASONS, 'UNKNOWN_STREAM'] as const);
    if (batch.grant && isReason(error, ...reasons)) this.qkd?.lost(batch.grant, error);
    if (this.stopped) return;
    const fields = { ksid: stream.id, first: batch.first, reason: error.reason, detail: error.detail };
    this.#log.warning('a batch was dropped', fields, thrown);
    stream.noteFailure(error);
    if (isReason(error, 'UNKNOWN_STREAM')) {
      stream.peerClosed('the other node no longer knows this stream; open a new one');
      return;
    }
    if (isAftermath) {
      this.#again(batch.count);
      return;
    }
    const remedy = this.#recovery.failed(batch, error);
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

  #again(count: number): void {
    this.#demands.wantAgain(count);
    this.#offer();
  }

  /** Whether the next batch takes QKD keys. */
  get #usesQkd(): boolean {
    const { standIn, leftOut } = this.#recovery;
    return qkdSlotsOf({ stream: this.stream, standIn, leftOut }) > 0;
  }

  #offer(): void {
    if (this.stopped || this.#demands.count === 0) return;
    if (!this.#usesQkd) this.qkd?.putBack();
    if (this.state === 'waiting') this.qkd?.ask();
    else if (this.offerable > 0) this.#rounds.enqueue(this);
    else this.passed();
  }

  /** What the reservoir sees of this stream, and tells it. */
  #qkdDemand(): QkdDemand {
    const producer = this;
    return {
      get lacking() {
        return producer.state === 'waiting' ? Math.min(producer.#demands.count, producer.#batchLimit) : 0;
      },
      get urgent() {
        return producer.urgent;
      },
      get weight() {
        return producer.weight;
      },
      get replaceable() {
        return producer.#recovery.mayDoWithoutQkd;
      },
      invited: () => {
        if (producer.state === 'waiting') producer.stream.refill(INVITED_WATER);
      },
      granted: () => {
        if (producer.offerable > 0) producer.#rounds.enqueue(producer);
        else producer.qkd?.putBack();
      },
      failed: (error) => producer.#noKeys(error),
    };
  }

  /** The reservoir has none: no batch was begun, and none is burned. */
  #noKeys(error: KeyweaveError): void {
    const { stream } = this;
    const batch = { stream, first: stream.indexes.next, count: 1, qkd: undefined, standIn: undefined };
    this.#failed(batch, error, error);
  }
}
