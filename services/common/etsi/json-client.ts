import type { Socket } from 'node:net';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';

/** Largest answer: a 64 KiB key as a list of numbers. */
const MAX_ANSWER_BYTES = 512 * 1024;

interface Pending {
  resolve: (json: unknown) => void;
  reject: (error: Error) => void;
}

/** The server sent what is no JSON, or more of it than any answer has. */
export class NotJsonError extends Error {}

/**
 * The client's end of a connection that speaks JSON requests and answers in
 * order. Several requests may be under way at once where the server answers
 * them in turn. What has been received is wiped once it is decoded.
 */
export class JsonClient {
  readonly #socket: Socket;
  readonly #framer = new JsonFramer({ maxBytes: MAX_ANSWER_BYTES });
  readonly #pending: Pending[] = [];
  readonly #whenClosed = Promise.withResolvers<void>();
  #answers = 0;
  #closed = false;
  #untouched = true;

  /** Takes over a connected socket. */
  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('error', (error) => this.#end(error));
    socket.on('end', () => this.destroy('the server closed the connection'));
    socket.on('close', () => this.#end(new Error('the connection was closed')));
  }

  /** True once nothing more can be sent. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Resolves when nothing more can be sent; never rejects. */
  get whenClosed(): Promise<void> {
    return this.#whenClosed.promise;
  }

  /** Answers received so far. */
  get answers(): number {
    return this.#answers;
  }

  /** True while nothing has come since the last answer: a request that dies now got no byte of its answer. */
  get untouched(): boolean {
    return this.#untouched;
  }

  /** Sends a request; resolves with the JSON of its answer. Rejects when the connection ends first. */
  request(payload: Buffer): Promise<unknown> {
    const answer = this.#answer();
    if (!this.#closed) this.#socket.write(payload);
    return answer;
  }

  /** Sends several requests in one piece, so that they arrive together; their answers as of `request`, in order. */
  requestTogether(payloads: readonly Buffer[]): Promise<unknown>[] {
    const answers = payloads.map(() => this.#answer());
    if (!this.#closed) this.#socket.write(Buffer.concat(payloads));
    return answers;
  }

  /** Ends the connection; what is under way fails. */
  destroy(reason = 'the connection was given up'): void {
    this.#end(new Error(reason));
    this.#socket.destroy();
  }

  #answer(): Promise<unknown> {
    if (this.#closed) return Promise.reject(new Error('the connection is closed'));
    return new Promise((resolve, reject) => this.#pending.push({ resolve, reject }));
  }

  #receive(data: Buffer): void {
    let at = 0;
    // Whatever comes behind what ends the connection is not looked at: it could be a flood.
    while (!this.#closed) {
      const frame = this.#framer.next(data, at);
      at = this.#framer.end;
      if (frame === undefined) break;
      const pending = this.#pending.shift();
      if (pending && Buffer.isBuffer(frame)) this.#settle(pending, frame);
      else {
        pending?.reject(new NotJsonError('the answer is not JSON'));
        this.destroy('the server does not speak the protocol');
      }
      if (Buffer.isBuffer(frame)) frame.fill(0);
    }
    this.#untouched = !this.#closed && this.#framer.pending === 0;
    data.fill(0);
  }

  #settle(pending: Pending, frame: Buffer): void {
    this.#answers += 1;
    try {
      pending.resolve(decodeJson(frame));
    } catch (cause) {
      pending.reject(new NotJsonError('the answer is not JSON', { cause }));
      // Which answer belongs to which request is no longer sure.
      this.destroy('the server does not speak the protocol');
    }
  }

  #end(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#framer.stop();
    for (const pending of this.#pending.splice(0)) pending.reject(error);
    this.#whenClosed.resolve();
  }
}
