import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { NodeServices } from '../sources/node-services.ts';
import type { ChunkSupply, KeyStream } from './key-stream.ts';
import { pauseForRoom } from './no-room.ts';
import type { ResponderExchange } from './responder-exchange.ts';

/** The initiator answers once the chunks are made or could not be; a slow KEM takes its time. */
const DEMAND_TIMEOUT_MS = 150_000;
const RETRY_DELAY_MS = 50;
const MAX_PAUSE_MS = 1_000;

/**
 * The initiator sees the same GET_KEYs and makes chunks by itself, so it is
 * given a moment before it is asked: the shorter one where somebody waits.
 */
const WAITED_FOR_MS = 100;
const AHEAD_MS = 1_000;

/** Questions to an initiator that cannot be reached, before those who wait are told. */
const ATTEMPTS_WHILE_UNREACHABLE = 5;

/** The responder's supply: asks the initiator, one question at a time. */
export class ResponderDemand implements ChunkSupply {
  readonly #services: NodeServices;
  readonly #stream: KeyStream;
  readonly #exchange: ResponderExchange;
  #wanted = 0;
  #running = false;
  #stopped = false;
  #failures = 0;
  /** Questions in a row for which the other end had no room. */
  #roomless = 0;
  #timer: NodeJS.Timeout | undefined;
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(services: NodeServices, exchange: ResponderExchange) {
    this.#services = services;
    this.#stream = exchange.stream;
    this.#exchange = exchange;
  }

  get coming(): number {
    return this.#exchange.coming;
  }

  want(count: number): void {
    this.#wanted = count;
    if (count === 0 || this.#running || this.#stopped) return;
    const due = this.#services.now() + (this.#stream.buffer.waiting > 0 ? WAITED_FOR_MS : AHEAD_MS);
    if (due >= this.#dueMs) return;
    this.#dueMs = due;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#due(), due - this.#services.now());
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #due(): void {
    this.#dueMs = Number.POSITIVE_INFINITY;
    // What is coming brings another look at what is lacking.
    if (this.#wanted > 0 && this.coming === 0 && !this.#running && !this.#stopped) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    const stream = this.#stream;
    try {
      while (this.#wanted > 0 && !this.#stopped) {
        const count = this.#wanted;
        this.#wanted = 0;
        try {
          const { failure } = await this.#services
            .peer(stream.peerNode)
            .demand(
              { keyStreamId: stream.idBytes, count, waitedFor: stream.buffer.waiting > 0 },
              DEMAND_TIMEOUT_MS,
            );
          if (failure) await this.#afterFailure(errorOf(failure), true);
          else {
            this.#failures = 0;
            this.#roomless = 0;
            if (!this.#stopped) stream.refill();
          }
        } catch (thrown) {
          await this.#afterFailure(KeyweaveError.from(thrown), false);
        }
      }
    } finally {
      this.#running = false;
    }
  }

  /**
   * An unreachable initiator is asked again; what it says about its own
   * attempts (`isLastWord`) is final, though the reason may be the same. A full
   * one is asked again while somebody waits.
   */
  async #afterFailure(error: KeyweaveError, isLastWord: boolean): Promise<void> {
    const stream = this.#stream;
    if (this.#stopped) return;
    stream.lastFailure = error;
    if (isReason(error, 'UNKNOWN_STREAM')) {
      stream.peerClosed('the other node no longer knows this stream; open a new one');
      return;
    }
    if (isReason(error, 'NO_ROOM')) {
      this.#services.log.debug('the other end has no room', { ksid: stream.id, detail: error.detail });
      this.#failures = 0;
      this.#roomless += 1;
      this.#wanted = stream.buffer.waiting;
      await pause(pauseForRoom(this.#roomless));
      return;
    }
    this.#failures += 1;
    const transport =
      !isLastWord && isReason(error, 'PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN');
    if (transport && this.#failures < ATTEMPTS_WHILE_UNREACHABLE)
      this.#wanted = Math.max(1, stream.buffer.waiting);
    else stream.failWaiters(error);
    await pause(Math.min(MAX_PAUSE_MS, RETRY_DELAY_MS * 2 ** Math.min(10, this.#failures - 1)));
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
