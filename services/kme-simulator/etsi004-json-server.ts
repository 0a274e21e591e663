import { createServer, type Server, type Socket } from 'node:net';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';
import { Faults } from './faults.ts';
import type { SimulatedLink } from './link.ts';

const MAX_REQUEST_BYTES = 65_536;
const MAX_CHUNK_BYTES = 65_536;
const DEFAULT_OPEN_TIMEOUT_MS = 10_000;

export interface SimulatedEndOptions {
  link: SimulatedLink;
  /** Which end of the link this is. */
  end: number;
  /** OPEN_CONNECT answers only when the other end has come too. */
  blocking: boolean;
  /** Close the connection after each answer, as some key managers do. */
  perCall: boolean;
  keyFormat: 'list' | 'base64' | 'hex';
}

type Answer = Record<string, unknown>;

/** One key manager of the simulated network: ETSI 004 as JSON over TCP. */
export class SimulatedEnd {
  readonly faults = new Faults();
  readonly #options: SimulatedEndOptions;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #address: Address | undefined;
  /** Keys handed out by this end. */
  delivered = 0;

  constructor(options: SimulatedEndOptions) {
    this.#options = options;
  }

  /** Listens; a second start after a stop takes the same port again. */
  start(address: Address): Promise<Address> {
    const server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#server = server;
    const wanted = this.#address ?? address;
    return new Promise((resolve, reject) => {
      server.once('error', (cause) => {
        reject(new KeyweaveError('BAD_CONFIG', `cannot listen on ${wanted.host}:${wanted.port}`, { cause }));
      });
      server.listen(wanted.port, wanted.host, () => {
        const bound = server.address();
        this.#address = {
          host: wanted.host,
          port: typeof bound === 'object' && bound ? bound.port : wanted.port,
        };
        resolve(this.#address);
      });
    });
  }

  /** Stops as a machine that is switched off: every connection is cut. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (this.faults.strikes('refuse')) {
      socket.resetAndDestroy();
      return;
    }
    const framer = new JsonFramer({ maxBytes: MAX_REQUEST_BYTES });
    let turn = Promise.resolve();
    socket.on('data', (data: Buffer) => {
      for (const frame of framer.push(data)) turn = turn.then(() => this.#serve(socket, frame));
    });
  }

  async #serve(socket: Socket, frame: Buffer | { error: string }): Promise<void> {
    if (socket.destroyed) return;
    const { faults } = this;
    if (faults.strikes('refuse')) {
      socket.resetAndDestroy();
      return;
    }
    // A hanging end answers nobody any more, on this connection or another.
    if (faults.strikes('hang')) return new Promise(() => undefined);
    const answer = Buffer.isBuffer(frame)
      ? await this.#answer(frame)
      : { status: 1, message: 'Invalid JSON received' };
    const text = JSON.stringify(answer);
    if (faults.strikes('drop')) {
      socket.write(text.slice(0, text.length / 2), () => socket.destroy());
      return;
    }
    if (this.#options.perCall) socket.end(text);
    else socket.write(text);
  }

  async #answer(text: Buffer): Promise<Answer> {
    let request: { command?: unknown; data?: Record<string, unknown> };
    try {
      request = decodeJson(text) as typeof request;
    } catch {
      return { status: 1, message: 'Invalid JSON received' };
    }
    const data = typeof request?.data === 'object' && request.data !== null ? request.data : {};
    switch (request?.command) {
      case 'OPEN_CONNECT':
        return this.#open(data);
      case 'GET_KEY':
        return this.#getKey(data);
      case 'CLOSE':
        return { status: this.#options.link.close(this.#options.end, String(data.key_stream_id)) ? 0 : 3 };
      default:
        return { status: 1, message: 'Unknown command' };
    }
  }

  async #open(data: Record<string, unknown>): Promise<Answer> {
    const { link, end, blocking } = this.#options;
    const qos = (data.qos ?? {}) as Record<string, unknown>;
    const chunkBytes = Number(qos.key_chunk_size ?? 32);
    if (typeof data.source !== 'string' || typeof data.destination !== 'string') return { status: 4 };
    if (!Number.isInteger(chunkBytes) || chunkBytes < 1 || chunkBytes > MAX_CHUNK_BYTES) return { status: 7 };
    const wanted = typeof data.key_stream_id === 'string' ? data.key_stream_id : undefined;
    const result = link.open(end, data.source, data.destination, chunkBytes, wanted);
    if (result.status !== 0) return { status: result.status };
    if (blocking && !(await within(result.joined, Number(qos.timeout) || DEFAULT_OPEN_TIMEOUT_MS))) {
      link.close(end, result.ksid);
      return { status: 6 };
    }
    return { status: 0, key_stream_id: result.ksid, qos: { ...qos, key_chunk_size: result.chunkBytes } };
  }

  #getKey(data: Record<string, unknown>): Answer {
    const { link, end, keyFormat } = this.#options;
    if (this.faults.strikes('dry')) return { status: 2 };
    const key = link.take(end, String(data.key_stream_id));
    if (key === null) return { status: 3 };
    if (key === undefined) return { status: 2 };
    if (this.faults.strikes('wrong-key')) key[0] = (key[0] as number) ^ 0xff;
    this.delivered += 1;
    return {
      status: 0,
      key_buffer: keyFormat === 'list' ? [...key] : key.toString(keyFormat),
      index: data.index ?? 0,
    };
  }
}

async function within(work: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  const inTime = await Promise.race([work.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
