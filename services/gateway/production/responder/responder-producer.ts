import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { NodeServices } from '../../clients/node-services.ts';
import type { KeyStream, Producer } from '../../streams/key-stream.ts';
import type { HeldBatches } from './held-batches.ts';

/**
 * The initiator sees the same GET_KEYs and makes chunks by itself, so it is
 * given a moment before it is asked: the shorter one where somebody waits.
 */
const WAITED_FOR_MS = 100;
const AHEAD_MS = 1_000;

/** Pause after a question that brought no chunks yet; twice as long after each further one. */
const PAUSE_MS = 250;
const MAX_PAUSE_MS = 2_000;

/** The same after a question that was lost. */
const RETRY_DELAY_MS = 50;
const MAX_RETRY_DELAY_MS = 1_000;

/** Questions to an initiator that cannot be reached, before those who wait are told. */
const ATTEMPTS_WHILE_UNREACHABLE = 5;

/**
 * The responder's supply: asks the initiator, one question at a time. What is
 * made comes by itself; while somebody waits and nothing comes the question is
 * repeated, ever less often, since its answer tells what has gone wrong.
 */
export class ResponderProducer implements Producer {
  readonly #services: NodeServices;
  readonly #stream: KeyStream;
  readonly #exchange: HeldBatches;
  #wanted = 0;
  #asking = false;
  #stopped = false;
  /** Questions since chunks last came, and how many of the last were lost. */
  #unanswered = 0;
  #lost = 0;
  /** First index that was not used yet when the last question was asked. */
  #askedAt = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(services: NodeServices, exchange: HeldBatches) {
    this.#services = services;
    this.#stream = exchange.stream;
    this.#exchange = exchange;
  }

  get coming(): number {
    return this.#exchange.coming;
  }

  want(count: number): void {
    this.#wanted = count;
    if (this.#stream.buffer.nextIndex !== this.#askedAt) {
      this.#unanswered = 0;
      this.#notBeforeMs = Number.NEGATIVE_INFINITY;
    }
    this.#schedule();
  }

  /** Nothing more comes: drops what is unconfirmed, and leaves the key manager. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#exchange.stop();
  }

  #schedule(): void {
    if (this.#wanted === 0 || this.#asking || this.#stopped) return;
    const now = this.#services.now();
    const moment = this.#stream.buffer.waiting > 0 ? WAITED_FOR_MS : AHEAD_MS;
    const due = Math.max(this.#notBeforeMs, now + moment);
    if (due >= this.#dueMs) return;
    this.#dueMs = due;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#due(), due - now);
  }

  #due(): void {
    this.#dueMs = Number.POSITIVE_INFINITY;
    // What is coming brings another look at what is lacking.
    if (this.#wanted > 0 && this.coming === 0 && !this.#asking && !this.#stopped) void this.#ask();
  }

  async #ask(): Promise<void> {
    const { buffer, idBytes, incarnation, peerNode } = this.#stream;
    const count = this.#wanted;
    this.#asking = true;
    this.#wanted = 0;
    this.#askedAt = buffer.nextIndex;
    try {
      const demand = { keyStreamId: idBytes, incarnation, count, waitedFor: buffer.waiting > 0 };
      const { failure } = await this.#services.peer(peerNode).demand(demand);
      this.#lost = 0;
      this.#pause(PAUSE_MS, this.#unanswered++, MAX_PAUSE_MS);
      if (failure) this.#refused(errorOf(failure));
      else if (buffer.waiting > 0) this.#wanted = Math.max(this.#wanted, buffer.waiting);
    } catch (thrown) {
      const error = KeyweaveError.from(thrown);
      this.#pause(RETRY_DELAY_MS, this.#lost++, MAX_RETRY_DELAY_MS);
      if (error.retryable && this.#lost < ATTEMPTS_WHILE_UNREACHABLE) {
        this.#stream.lastFailure = error;
        this.#wanted = Math.max(1, buffer.waiting);
      } else this.#failed(error);
    }
    this.#asking = false;
    this.#schedule();
  }

  /** An initiator that is full is asked again while somebody waits, who learns what for when the time has run out. */
  #refused(error: KeyweaveError): void {
    if (!isReason(error, 'NO_ROOM')) {
      this.#failed(error);
      return;
    }
    const { id, buffer } = this.#stream;
    this.#services.log.debug('the other end has no room', { ksid: id, detail: error.detail });
    this.#stream.lastFailure = error;
    this.#wanted = buffer.waiting;
  }

  /** What the initiator says about its own attempts is final for those who wait now. */
  #failed(error: KeyweaveError): void {
    if (this.#stopped) return;
    this.#wanted = 0;
    if (isReason(error, 'UNKNOWN_STREAM')) {
      this.#stream.peerClosed('the other node no longer knows this stream; open a new one');
    } else this.#stream.failWaiters(error);
  }

  #pause(firstMs: number, times: number, mostMs: number): void {
    this.#notBeforeMs = this.#services.now() + Math.min(mostMs, firstMs * 2 ** Math.min(10, times));
  }
}
