import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_STATUS } from '#common/errors/status-table.ts';
import { decodeJson, type JsonFrame, JsonFramer } from '#common/etsi/json-framer.ts';
import { Faults, type Habit } from './faults.ts';
import type { SimulatedLink } from './link.ts';

const MAX_REQUEST_BYTES = 65_536;
const MAX_CHUNK_BYTES = 65_536;
const DEFAULT_OPEN_TIMEOUT_MS = 10_000;

/** Sizes of keys of which the last is remembered. */
const MAX_SIZES = 64;

/** How an answer is written byte by byte: so much of it in segments of one byte, then in longer and longer ones. */
const SINGLE_BYTES = 64;

/** Bytes of the segment that begins at byte `at`. */
const segmentAt = (at: number) => (at < SINGLE_BYTES ? 1 : at < 2048 ? 16 : 1400);

export interface SimulatedEndOptions {
  link: SimulatedLink;
  /** Which end of the link this is. */
  end: number;
  /** OPEN_CONNECT answers only when the other end has come too. */
  blocking: boolean;
  /** What this key manager always does. */
  habit?: Habit | undefined;
  keyFormat: 'list' | 'base64' | 'hex';
  /** Serve TLS instead of plain TCP. */
  tls?: TlsOptions | undefined;
}

type Members = Record<string, unknown>;

const INVALID_JSON = { status: 'error', message: 'Invalid JSON received' };
const UNKNOWN_COMMAND = { status: 'error', message: 'Unknown command' };

/** One key manager of the simulated network: ETSI 004 as JSON over TCP. */
export class SimulatedEnd {
  readonly faults = new Faults();
  readonly #options: SimulatedEndOptions;
  readonly #sockets = new Set<Socket>();
  /** The key given last, in whichever stream, by its size. */
  readonly #last = new Map<number, Buffer>();
  #server: Server | undefined;
  #address: Address | undefined;
  #delivered = 0;
  #deliveredBytes = 0;
  #connections = 0;

  constructor(options: SimulatedEndOptions) {
    this.#options = options;
  }

  /** Keys handed out by this end. */
  /** Bytes of the keys handed out. */
  get deliveredBytes(): number {
    return this.#deliveredBytes;
  }

  get delivered(): number {
    return this.#delivered;
  }

  /** Connections accepted so far. */
  get connections(): number {
    return this.#connections;
  }

  /**
   * Listens; a second start after a stop takes the same port again.
   *
   * @throws KeyweaveError BAD_CONFIG when the address cannot be bound.
   */
  start(address: Address): Promise<Address> {
    if (this.#server && this.#address) return Promise.resolve(this.#address);
    const { tls } = this.#options;
    const accept = (socket: Socket) => this.#accept(socket);
    const server = tls
      ? createTlsServer({ ...tls, noDelay: true }, accept)
      : createServer({ noDelay: true }, accept);
    server.on('tlsClientError', (_, socket: Socket) => socket.destroy());
    this.#server = server;
    const { host, port } = this.#address ?? address;
    return new Promise((resolve, reject) => {
      server.once('error', (cause) => {
        if (!server.listening) this.#server = undefined;
        reject(new KeyweaveError('BAD_CONFIG', `cannot listen on ${host}:${port}`, { cause }));
      });
      server.listen(port, host, () => {
        const bound = server.address();
        this.#address = { host, port: typeof bound === 'object' && bound ? bound.port : port };
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
    this.#connections += 1;
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (this.faults.strikes('refuse')) {
      reset(socket);
      return;
    }
    const framer = new JsonFramer({ maxBytes: MAX_REQUEST_BYTES });
    let turn = Promise.resolve();
    socket.on('data', (data: Buffer) => {
      const frames = framer.push(data);
      if (frames.length > 1 && this.#does('read-once')) frames.length = 1;
      for (const frame of frames) {
        turn = turn.then(() => this.#serve(socket, frame)).catch(() => reset(socket));
      }
    });
  }

  async #serve(socket: Socket, frame: JsonFrame): Promise<void> {
    if (socket.destroyed || socket.writableEnded) return;
    const { faults } = this;
    if (faults.strikes('refuse')) return reset(socket);
    // What comes later on this connection hangs behind it.
    if (faults.strikes('hang')) return new Promise(() => undefined);
    const answer = await this.#answer(socket, frame);
    const text = JSON.stringify(answer);
    if (faults.strikes('drop')) {
      socket.write(text.slice(0, text.length / 2), () => socket.destroy());
      return;
    }
    if (this.#does('byte-by-byte')) await writeInPieces(socket, text);
    else socket.write(text);
    if (this.#does('close-after-answer') || tooLarge(frame)) socket.end();
  }

  #does(habit: Habit): boolean {
    return this.#options.habit === habit || this.faults.strikes(habit);
  }

  async #answer(socket: Socket, frame: JsonFrame): Promise<Members> {
    let request: Members;
    try {
      if (!Buffer.isBuffer(frame)) return INVALID_JSON;
      request = membersOf(decodeJson(frame));
    } catch {
      return INVALID_JSON;
    }
    const data = membersOf(request.data);
    switch (request.command) {
      case 'OPEN_CONNECT':
        return this.#open(socket, data);
      case 'GET_KEY':
        return this.#getKey(data);
      case 'CLOSE':
        return this.#close(data);
      default:
        return UNKNOWN_COMMAND;
    }
  }

  async #open(socket: Socket, data: Members): Promise<Members> {
    const { link, end, blocking } = this.#options;
    const qos = membersOf(data.qos);
    const chunkBytes = Number(qos.key_chunk_size ?? 32);
    if (typeof data.source !== 'string' || typeof data.destination !== 'string') {
      return { status: ETSI004_STATUS.NO_QKD_CONNECTION };
    }
    if (!Number.isInteger(chunkBytes) || chunkBytes < 1 || chunkBytes > MAX_CHUNK_BYTES) {
      return { status: ETSI004_STATUS.QOS_NOT_MET };
    }
    const wanted = typeof data.key_stream_id === 'string' ? data.key_stream_id : undefined;
    const result = link.open(end, data.source, data.destination, chunkBytes, wanted);
    if (result.status !== ETSI004_STATUS.SUCCESS) return { status: result.status };
    const waitMs = Number(qos.timeout) || DEFAULT_OPEN_TIMEOUT_MS;
    if (blocking && !(await inTime(result.joined, socket, waitMs))) {
      link.close(end, result.ksid);
      return { status: ETSI004_STATUS.TIMEOUT };
    }
    const status = ETSI004_STATUS.SUCCESS;
    return { status, key_stream_id: result.ksid, qos: { ...qos, key_chunk_size: result.chunkBytes } };
  }

  #getKey(data: Members): Members {
    const { link, end, keyFormat } = this.#options;
    if (this.faults.strikes('dry')) return { status: ETSI004_STATUS.INSUFFICIENT_KEY };
    let key = link.take(end, String(data.key_stream_id));
    if (key === null) return { status: ETSI004_STATUS.PEER_APPLICATION_NOT_CONNECTED };
    if (key === undefined) return { status: ETSI004_STATUS.INSUFFICIENT_KEY };
    const last = this.#last.get(key.length);
    if (last && this.faults.strikes('repeat')) key = Buffer.from(last);
    if (this.faults.strikes('wrong-key')) key[0] = (key[0] as number) ^ 0xff;
    if (this.faults.strikes('zero')) key.fill(0);
    this.#remember(key);
    this.#delivered += 1;
    this.#deliveredBytes += key.length;
    const key_buffer = keyFormat === 'list' ? [...key] : key.toString(keyFormat);
    return { status: ETSI004_STATUS.SUCCESS, key_buffer, index: data.index ?? 0 };
  }

  #remember(key: Buffer): void {
    if (this.#last.size >= MAX_SIZES) this.#last.clear();
    this.#last.set(key.length, Buffer.from(key));
  }

  #close(data: Members): Members {
    const closed = this.#options.link.close(this.#options.end, String(data.key_stream_id));
    return { status: closed ? ETSI004_STATUS.SUCCESS : ETSI004_STATUS.PEER_APPLICATION_NOT_CONNECTED };
  }
}

function membersOf(json: unknown): Members {
  return typeof json === 'object' && json !== null && !Array.isArray(json) ? (json as Members) : {};
}

function tooLarge(frame: JsonFrame): boolean {
  return !Buffer.isBuffer(frame) && frame.error === 'too-large';
}

/** Resolves when all is written, or the connection has gone. */
async function writeInPieces(socket: Socket, text: string): Promise<void> {
  const bytes = Buffer.from(text);
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

/** Whether `joined` comes before the time is up and before the caller has gone. */
async function inTime(joined: Promise<void>, socket: Socket, ms: number): Promise<boolean> {
  const given = Promise.withResolvers<boolean>();
  const giveUp = () => given.resolve(false);
  const timer = setTimeout(giveUp, ms);
  socket.once('close', giveUp);
  try {
    return await Promise.race([joined.then(() => true), given.promise]);
  } finally {
    clearTimeout(timer);
    socket.off('close', giveUp);
  }
}
