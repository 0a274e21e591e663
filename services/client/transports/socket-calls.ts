import type { Socket } from 'node:net';
import type { Clock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';
import { type Call, failed, type KeyStreamError, plain } from '../key-stream-error.ts';
import { dial } from './dial.ts';
import type { CallLimit } from './line.ts';
import { type NodeAddress, placeOf } from './node-address.ts';

/** Requests and their answers over one socket. */
export interface AnsweringConnection<A> {
  readonly closed: boolean;
  /** Rejects when the connection ends first. */
  request(payload: Buffer): Promise<A>;
  /** What is under way fails. */
  destroy(): void;
}

export interface SocketCallsOptions<A> {
  readonly node: NodeAddress;
  readonly clock: Pick<Clock, 'after' | 'soon'>;
  /** Takes over a connected socket. */
  readonly speak: (socket: Socket) => AnsweringConnection<A>;
  /** Whether what a request failed with says that the other end speaks something else. */
  readonly isForeign: (thrown: unknown) => boolean;
}

/** One call after the other over a connection that is made when one needs it. */
export class SocketCalls<A> {
  readonly #o: SocketCallsOptions<A>;
  #connection: AnsweringConnection<A> | undefined;

  constructor(options: SocketCallsOptions<A>) {
    this.#o = options;
  }

  /**
   * The answer to a request. A connection whose call was given up is ended,
   * since its answer would be taken for the next one's.
   *
   * @throws KeyStreamError UNREACHABLE, TLS_FAILED, CONNECTION_LOST, NO_ANSWER,
   *   WRONG_PROTOCOL, BAD_OPTIONS; the reason of the signal.
   */
  async ask(call: Call, payload: Buffer, limit: CallLimit): Promise<A> {
    const { node, clock } = this.#o;
    const connection = await this.#connected(call, limit);
    const { answerMs, signal } = limit;
    let answer: { readonly given: A } | undefined;
    try {
      const asking = connection.request(payload).then((given) => ({ given }));
      answer = await waitFor(asking, answerMs, signal, clock);
    } catch (thrown) {
      this.end();
      throw this.#lost(call, thrown);
    }
    if (answer !== undefined) return answer.given;
    this.end();
    signal?.throwIfAborted();
    const within = `${call} at ${placeOf(node)} got no answer within ${answerMs / 1000} s`;
    throw failed('NO_ANSWER', call, within, { mayHaveActed: true });
  }

  /** Ends the connection; the next call makes another. */
  end(): void {
    this.#connection?.destroy();
    this.#connection = undefined;
  }

  async #connected(call: Call, limit: CallLimit): Promise<AnsweringConnection<A>> {
    limit.signal?.throwIfAborted();
    const { node, clock, speak } = this.#o;
    // A server that ends the connection with its answer is not asked over it again: it could take a key for nobody.
    if (this.#connection !== undefined) await new Promise<void>((turn) => clock.soon(turn));
    if (this.#connection === undefined || this.#connection.closed) {
      this.#connection = speak(await dial(node, call, limit, clock));
    }
    return this.#connection;
  }

  #lost(call: Call, cause: unknown): KeyStreamError {
    const { node, isForeign } = this.#o;
    const said = cause instanceof Error ? plain(cause.message) : 'it broke off';
    const message = `${call} at ${placeOf(node)} got no answer: ${said}`;
    if (isForeign(cause)) return failed('WRONG_PROTOCOL', call, message, { mayHaveActed: true });
    // In TLS 1.3 a listener tells of a certificate that it wants only after the handshake.
    const { code = '' } = cause as NodeJS.ErrnoException;
    if (code.startsWith('ERR_SSL_')) return failed('TLS_FAILED', call, message, { cause });
    return failed('CONNECTION_LOST', call, message, { cause, mayHaveActed: true });
  }
}
