import type { Socket } from 'node:net';
import { decodeJson, JsonFramer } from './json-framer.ts';

/** Largest answer: a 64 KiB key as a list of numbers. */
const MAX_ANSWER_BYTES = 512 * 1024;

interface Pending {
  resolve: (json: unknown) => void;
  reject: (error: Error) => void;
}

/**
 * The client's end of a connection that speaks JSON requests and answers in
 * order. Several requests may be under way at once where the server answers
 * them in turn.
 */
export class JsonConnection {
  readonly #socket: Socket;
  readonly #framer = new JsonFramer({ maxBytes: MAX_ANSWER_BYTES });
  readonly #pending: Pending[] = [];
  #closed = false;

  /** Takes over a connected socket. */
  constructor(socket: Socket, onClose: () => void = () => undefined) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('error', (error) => this.#end(error));
    socket.on('end', () => this.#end(new Error('the server closed the connection')));
    socket.on('close', () => {
      this.#end(new Error('the connection was closed'));
      onClose();
    });
  }

  /** True once nothing more can be sent. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Sends a request; resolves with the JSON of its answer. Rejects when the connection ends first. */
  request(payload: Buffer): Promise<unknown> {
    if (this.#closed) return Promise.reject(new Error('the connection is closed'));
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject });
      this.#socket.write(payload);
    });
  }

  /** Ends the connection; what is under way fails. */
  destroy(reason = 'the connection was given up'): void {
    this.#end(new Error(reason));
    this.#socket.destroy();
  }

  #receive(data: Buffer): void {
    for (const frame of this.#framer.push(data)) {
      const pending = this.#pending.shift();
      if (!pending || !Buffer.isBuffer(frame)) {
        pending?.reject(new Error('the answer is not JSON'));
        this.destroy('the server does not speak the protocol');
        return;
      }
      try {
        pending.resolve(decodeJson(frame));
      } catch (error) {
        pending.reject(error as Error);
      }
      frame.fill(0);
    }
  }

  #end(error: Error): void {
    this.#closed = true;
    for (const pending of this.#pending.splice(0)) pending.reject(error);
  }
}
