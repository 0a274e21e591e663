import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import type { Faults, Habit } from '../faults.ts';
import { EndListener } from './end-listener.ts';
import type { SimulatedEnd } from './simulated-end.ts';

/** How an answer is written byte by byte: so much of it in segments of one byte, then in longer and longer ones. */
const SINGLE_BYTES = 64;

/** Bytes of the segment that begins at byte `at`. */
const segmentAt = (at: number) => (at < SINGLE_BYTES ? 1 : at < 2048 ? 16 : 1400);

/** A request that has come whole, or what came in its place. */
export interface SocketRequest {
  /** Nothing more is read of the connection. */
  readonly isLast: boolean;
  /** @param gone fires when the caller has gone. Undefined: there is no answer. */
  answer(gone: AbortSignal): Promise<Buffer | undefined>;
}

/** One connection: finds the requests in what comes. */
export interface Conversation {
  push(data: Buffer): SocketRequest[];
}

export interface SocketEndOptions {
  readonly faults: Faults;
  /** What this key manager always does. */
  readonly habit?: Habit | undefined;
  /** Serve TLS instead of plain TCP. */
  readonly tls?: TlsOptions | undefined;
  converse(): Conversation;
}

/** A key manager that is spoken to over a socket of its own, one request after the other. */
export class SocketEnd implements SimulatedEnd {
  readonly #options: SocketEndOptions;
  readonly #sockets = new Set<Socket>();
  readonly #listener = new EndListener({
    make: () => this.#make(),
    cut: () => {
      for (const socket of this.#sockets) socket.destroy();
    },
  });
  #connections = 0;

  constructor(options: SocketEndOptions) {
    this.#options = options;
  }

  get connections(): number {
    return this.#connections;
  }

  start(address: Address): Promise<Address> {
    return this.#listener.start(address);
  }

  stop(): Promise<void> {
    return this.#listener.stop();
  }

  #make(): Server {
    const { tls } = this.#options;
    const accept = (socket: Socket) => this.#accept(socket);
    const server = tls
      ? createTlsServer({ ...tls, noDelay: true }, accept)
      : createServer({ noDelay: true }, accept);
    server.on('tlsClientError', (_, socket: Socket) => socket.destroy());
    return server;
  }

  #accept(socket: Socket): void {
    const gone = new AbortController();
    this.#connections += 1;
    this.#sockets.add(socket);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      gone.abort();
    });
    socket.on('error', () => socket.destroy());
    if (this.#options.faults.strikes('refuse')) {
      reset(socket);
      return;
    }
    const conversation = this.#options.converse();
    let turn = Promise.resolve();
    socket.on('data', (data: Buffer) => {
      const requests = conversation.push(data);
      if (requests.length > 1 && this.#does('read-once')) requests.length = 1;
      for (const request of requests) {
        turn = turn.then(() => this.#serve(socket, request, gone.signal)).catch(() => reset(socket));
      }
    });
  }

  async #serve(socket: Socket, request: SocketRequest, gone: AbortSignal): Promise<void> {
    if (socket.destroyed || socket.writableEnded) return;
    const { faults } = this.#options;
    if (faults.strikes('refuse')) return reset(socket);
    // What comes later on this connection hangs behind it.
    if (faults.strikes('hang')) return new Promise(() => undefined);
    const answer = await request.answer(gone);
    if (answer && faults.strikes('drop')) {
      socket.write(answer.subarray(0, answer.length / 2), () => socket.destroy());
      return;
    }
    if (answer && this.#does('byte-by-byte')) await writeInPieces(socket, answer);
    else if (answer) socket.write(answer);
    if (this.#does('close-after-answer') || request.isLast) socket.end();
  }

  #does(habit: Habit): boolean {
    return this.#options.habit === habit || this.#options.faults.strikes(habit);
  }
}

/** Resolves when all is written, or the connection has gone. */
async function writeInPieces(socket: Socket, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length && !socket.destroyed; ) {
    const end = at + segmentAt(at);
    await new Promise((written) => socket.write(bytes.subarray(at, end), written));
    // A turn for the reader, so that it finds one piece at a time.
    await new Promise(setImmediate);
    at = end;
  }
}

/** A TLS connection has no reset of its own. */
function reset(socket: Socket): void {
  if ('encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
}
