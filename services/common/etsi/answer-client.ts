import type { Socket } from 'node:net';

/** Finds the answers in what a server sends, whatever the segments. */
export interface AnswerReader<A> {
  /** Bytes of an answer that has begun and not ended. */
  readonly pending: number;
  /** Where the answer ends that `next` gave (exclusive), in the segment that it was asked for. */
  readonly end: number;
  /**
   * The first answer that ends in `segment` at or after `from`, or what is
   * wrong with it; undefined when the segment completes none. Keeps nothing of
   * the segment, which its owner wipes.
   */
  next(segment: Buffer, from: number): { readonly answer: A } | { readonly error: Error } | undefined;
  /** Wipes what is held; gives nothing more. */
  stop(): void;
}

interface Pending<A> {
  resolve: (answer: A) => void;
  reject: (error: Error) => void;
}

/**
 * The client's end of a connection on which requests are answered in order.
 * Several requests may be under way at once where the server answers them in
 * turn. What has been received is wiped once it is read.
 */
export class AnswerClient<A> {
  readonly #socket: Socket;
  readonly #reader: AnswerReader<A>;
  readonly #pending: Pending<A>[] = [];
  readonly #whenClosed = Promise.withResolvers<void>();
  #answers = 0;
  #closed = false;
  #untouched = true;

  /** Takes over a connected socket. */
  constructor(socket: Socket, reader: AnswerReader<A>) {
    this.#socket = socket;
    this.#reader = reader;
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

  /** Sends a request; resolves with its answer. Rejects when the connection ends first. */
  request(payload: Buffer): Promise<A> {
    const answer = this.#answer();
    if (!this.#closed) this.#socket.write(payload);
    return answer;
  }

  /** Sends several requests in one piece, so that they arrive together; their answers as of `request`, in order. */
  requestTogether(payloads: readonly Buffer[]): Promise<A>[] {
    const answers = payloads.map(() => this.#answer());
    if (!this.#closed) this.#socket.write(Buffer.concat(payloads));
    return answers;
  }

  /** Ends the connection; what is under way fails. */
  destroy(reason = 'the connection was given up'): void {
    this.#end(new Error(reason));
    this.#socket.destroy();
  }

  #answer(): Promise<A> {
    if (this.#closed) return Promise.reject(new Error('the connection is closed'));
    return new Promise((resolve, reject) => this.#pending.push({ resolve, reject }));
  }

  #receive(data: Buffer): void {
    let at = 0;
    // Whatever comes behind what ends the connection is not looked at: it could be a flood.
    while (!this.#closed) {
      const found = this.#reader.next(data, at);
      at = this.#reader.end;
      if (found === undefined) break;
      const pending = this.#pending.shift();
      if (pending && 'answer' in found) {
        this.#answers += 1;
        pending.resolve(found.answer);
        continue;
      }
      if ('error' in found) pending?.reject(found.error);
      // Which answer belongs to which request is no longer sure.
      this.destroy('the server does not speak the protocol');
    }
    this.#untouched = !this.#closed && this.#reader.pending === 0;
    data.fill(0);
  }

  #end(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#reader.stop();
    for (const pending of this.#pending.splice(0)) pending.reject(error);
    this.#whenClosed.resolve();
  }
}
