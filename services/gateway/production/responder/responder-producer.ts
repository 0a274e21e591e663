import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import { growingPause } from '#common/time/growing-pause.ts';
import type { BatchConfirmation, BatchDecision, QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLink } from '../../clients/peer-link.ts';
import type { Reservoirs } from '../../reservoirs/reservoirs.ts';
import type { ResponderReservoir } from '../../reservoirs/responder-reservoir.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import type { Producer } from '../../streams/producer.ts';
import { countQkdSlots } from '../../streams/stream-terms.ts';
import { HeldBatches } from './held-batches.ts';

/**
 * The initiator sees the same GET_KEYs and makes chunks by itself, so it is
 * given a moment before it is asked: the shorter one where somebody waits.
 */
const WAITED_FOR_MS = 100;
const AHEAD_MS = 1_000;

/** A batch that waits so long for its confirmation, while somebody waits for it, may never get it. */
const STALE_MS = 1_000;

/** Pause after a question that brought no chunks yet; twice as long after each further one. */
const PAUSE_MS = 250;
const MAX_PAUSE_MS = 2_000;

/** The same after a question that was lost. */
const RETRY_DELAY_MS = 50;
const MAX_RETRY_DELAY_MS = 1_000;

/** Questions to an initiator that cannot be reached, before those who wait are told. */
const ATTEMPTS_WHILE_UNREACHABLE = 8;

export interface ResponderProducerOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** To the initiator. */
  readonly link: Pick<PeerLink, 'demand'>;
  readonly reservoirs: Reservoirs;
}

/**
 * The responder's producer of one stream: holds the batches that it answers,
 * and asks the initiator for more, one question at a time. What is made comes
 * by itself; while somebody waits and nothing comes the question is repeated,
 * ever less often, since its answer tells what has gone wrong.
 */
export class ResponderProducer implements Producer {
  readonly role = 'responder';
  readonly stream: KeyStream;
  readonly batches: HeldBatches;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #link: Pick<PeerLink, 'demand'>;
  readonly #reservoirs: Reservoirs;
  readonly #usesQkd: boolean;
  #wanted = 0;
  #phase: 'idle' | 'asking' | 'stopped' = 'idle';
  /** Questions since chunks last came, and how many of the last were lost. */
  #unanswered = 0;
  #lost = 0;
  /** First index that was still to come when the last question was asked. */
  #askedAt = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(stream: KeyStream, { clock, log, link, reservoirs }: ResponderProducerOptions) {
    this.stream = stream;
    this.#clock = clock;
    this.#log = log;
    this.#link = link;
    this.batches = new HeldBatches(stream, clock);
    this.#reservoirs = reservoirs;
    this.#usesQkd = countQkdSlots(stream.terms, undefined) > 0;
    if (this.#usesQkd) reservoirs.joinResponder(stream);
  }

  /** The reservoir that a batch of this stream names. @throws KeyweaveError for one that cannot be its. */
  qkd(reference: QkdReference): ResponderReservoir {
    const { sourceNode, destinationNode } = this.stream.terms;
    return this.#reservoirs.responder(reference, { initiator: sourceNode, responder: destinationNode });
  }

  get coming(): number {
    return this.batches.coming;
  }

  want(count: number): void {
    this.#wanted = count;
    if (this.stream.indexes.frontier !== this.#askedAt) {
      this.#unanswered = 0;
      this.#notBeforeMs = Number.NEGATIVE_INFINITY;
    }
    this.#schedule();
  }

  /** Releases or drops a batch that is held back. */
  confirm(confirmation: BatchConfirmation): BatchDecision {
    return this.batches.confirm(confirmation);
  }

  /** Nothing more comes: drops what is unconfirmed, and leaves the key manager. */
  stop(): void {
    if (this.#phase !== 'stopped' && this.#usesQkd) this.#reservoirs.leaveResponder(this.stream);
    this.#phase = 'stopped';
    this.#timer?.cancel();
    this.batches.stop();
  }

  #schedule(): void {
    if (this.#phase !== 'idle') return;
    const waits = this.stream.buffer.waiting > 0;
    if (this.#wanted > 0) this.#scheduleIn(waits ? WAITED_FOR_MS : AHEAD_MS);
    else if (waits && this.coming > 0) this.#scheduleIn(STALE_MS);
  }

  #scheduleIn(moment: number): void {
    const now = this.#clock.monotonicMs();
    const due = Math.max(this.#notBeforeMs, now + moment);
    if (due >= this.#dueMs) return;
    this.#dueMs = due;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(due - now, () => this.#due());
  }

  #due(): void {
    this.#dueMs = Number.POSITIVE_INFINITY;
    if (this.#phase !== 'idle') return;
    const { waiting } = this.stream.buffer;
    if (this.coming === 0) {
      if (this.#wanted > 0) void this.#ask();
    } else if (waiting > 0) {
      // What is coming brings another look at what is lacking, unless its initiator has gone.
      if (this.batches.oldestMs >= STALE_MS) {
        this.#wanted = Math.max(this.#wanted, waiting);
        void this.#ask();
      } else this.#scheduleIn(STALE_MS);
    }
  }

  async #ask(): Promise<void> {
    const { buffer, idBytes, incarnation, indexes } = this.stream;
    const count = this.#wanted;
    this.#phase = 'asking';
    this.#wanted = 0;
    this.#askedAt = indexes.frontier;
    try {
      const demand = { keyStreamId: idBytes, incarnation, count, waitedFor: buffer.waiting > 0 };
      const { failure } = await this.#link.demand(demand);
      this.#lost = 0;
      this.#pause(PAUSE_MS, this.#unanswered++, MAX_PAUSE_MS);
      if (failure) this.#refused(errorOf(failure));
      else if (buffer.waiting > 0) this.#wanted = Math.max(this.#wanted, buffer.waiting);
    } catch (thrown) {
      const error = KeyweaveError.from(thrown);
      this.#pause(RETRY_DELAY_MS, this.#lost++, MAX_RETRY_DELAY_MS);
      if (error.retryable && this.#lost < ATTEMPTS_WHILE_UNREACHABLE) {
        this.stream.noteFailure(error);
        this.#wanted = Math.max(1, buffer.waiting);
      } else this.#failed(error);
    }
    if (this.#phase === 'asking') this.#phase = 'idle';
    this.#schedule();
  }

  /** An initiator that is full is asked again while somebody waits, who learns what for when the time has run out. */
  #refused(error: KeyweaveError): void {
    if (!isReason(error, 'NO_ROOM')) {
      this.#failed(error);
      return;
    }
    const { id, buffer } = this.stream;
    this.#log.debug('the other end has no room', { ksid: id, detail: error.detail });
    this.stream.noteFailure(error);
    this.#wanted = buffer.waiting;
  }

  /** What the initiator says about its own attempts is final for those who wait now. */
  #failed(error: KeyweaveError): void {
    if (this.#phase === 'stopped') return;
    this.#wanted = 0;
    if (isReason(error, 'UNKNOWN_STREAM')) {
      this.stream.peerClosed('the other node no longer knows this stream; open a new one');
    } else this.stream.failWaiters(error);
  }

  #pause(firstMs: number, times: number, mostMs: number): void {
    this.#notBeforeMs = this.#clock.monotonicMs() + growingPause(times, firstMs, mostMs);
  }
}
