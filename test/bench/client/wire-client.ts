import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { Address } from '#common/config/fields.ts';

/** Bytes of the answer that `received` begins with; undefined while it is not whole. */
export type AnswerSize = (received: Buffer) => number | undefined;

/**
 * A lean client of any protocol with one answer to each request: one request
 * under way, nothing parsed but where the answer ends.
 */
export class WireClient {
  readonly #socket: Socket;
  readonly #sizeOf: AnswerSize;
  #received: Buffer = Buffer.alloc(0);
  #waiting: PromiseWithResolvers<Buffer> | undefined;

  private constructor(socket: Socket, sizeOf: AnswerSize) {
    this.#socket = socket;
    this.#sizeOf = sizeOf;
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('error', (error) => this.#waiting?.reject(error));
    socket.on('close', () => this.#waiting?.reject(new Error('connection closed')));
  }

  /** @param tls what the client shows and trusts; undefined = plain TCP. */
  static connect(
    { host, port }: Address,
    tls: ConnectionOptions | undefined,
    sizeOf: AnswerSize,
  ): Promise<WireClient> {
    return new Promise((resolve, reject) => {
      const socket = tls
        ? connectTls({ host, port, ...tls, checkServerIdentity: () => undefined })
        : connect(port, host);
      socket.once('error', reject);
      socket.once(tls ? 'secureConnect' : 'connect', () => {
        socket.off('error', reject);
        resolve(new WireClient(socket, sizeOf));
      });
    });
  }

  request(bytes: Buffer | string): Promise<Buffer> {
    this.#waiting = Promise.withResolvers<Buffer>();
    this.#socket.write(bytes);
    return this.#waiting.promise;
  }

  close(): void {
    this.#waiting = undefined;
    this.#socket.destroy();
  }

  #receive(data: Buffer): void {
    this.#received = this.#received.length === 0 ? data : Buffer.concat([this.#received, data]);
    const size = this.#sizeOf(this.#received);
    if (size === undefined || size > this.#received.length) return;
    const answer = this.#received.subarray(0, size);
    this.#received = this.#received.subarray(size);
    this.#waiting?.resolve(answer);
  }
}
