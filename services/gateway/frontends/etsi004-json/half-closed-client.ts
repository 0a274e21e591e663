import type { Socket } from 'node:net';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { systemClock } from '#common/time/clock.ts';

/** How long the reset of a client that has gone away may take to come. */
const QUIET_MS = 100;

/** How long a client that was there is taken to be there still. */
const SURE_MS = 1_000;

/** White space between two JSON texts, which no reader of JSON minds. */
const PROBE = ' ';

/**
 * Finds out whether a client that the gateway cannot hear still reads. One
 * that has closed its connection looks like one that has only closed its
 * sending side, as a shell does behind `echo … | nc`: both have sent a FIN and
 * nothing more. But the first answers a byte with a reset, after which the
 * next byte cannot be sent.
 */
export class HalfClosedClient {
  readonly #socket: Socket;
  #asked: Promise<void> | undefined;
  #sureUntil = Number.NEGATIVE_INFINITY;
  #watch: NodeJS.Timeout | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Whether it is there; a socket whose other end has gone is destroyed. Never rejects. */
  async stillReads(): Promise<boolean> {
    if (systemClock.monotonicMs() >= this.#sureUntil) await this.#ask();
    return !this.#socket.destroyed;
  }

  /** Asks now, and again each second until `unwatch`. */
  watch(): void {
    if (this.#watch) return;
    this.#watch = setInterval(() => void this.#ask(), SURE_MS).unref();
    void this.#ask();
  }

  unwatch(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }

  #ask(): Promise<void> {
    this.#asked ??= this.#probe();
    return this.#asked;
  }

  async #probe(): Promise<void> {
    this.#write();
    await setTimeout(QUIET_MS);
    this.#write();
    // A write that failed destroys the socket a tick later.
    await setImmediate();
    this.#sureUntil = systemClock.monotonicMs() + SURE_MS;
    this.#asked = undefined;
  }

  #write(): void {
    const { writable, writableLength } = this.#socket;
    if (writable && writableLength === 0) this.#socket.write(PROBE);
  }
}
