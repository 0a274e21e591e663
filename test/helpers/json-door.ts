import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { createCa, type PemPair } from '#certs/issue.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { JsonFramer } from '#common/etsi/json-framer.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { systemClock } from '#common/time/clock.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type {
  GetKey,
  KeyDelivery,
  OpenConnect,
  Opened,
} from '../../services/gateway/delivery/key-delivery.ts';
import { keyMetadata } from '../../services/gateway/delivery/key-metadata.ts';
import {
  type JsonClientOptions,
  serveJsonClient,
} from '../../services/gateway/frontends/etsi004-json/connection.ts';
import { FairTurns } from '../../services/gateway/frontends/fair-turns.ts';
import { type Connection, Listener } from '../../services/gateway/frontends/listener.ts';
import { abandonedError } from '../../services/gateway/streams/chunk-buffer.ts';
import type { Owner } from '../../services/gateway/streams/owner.ts';
import { keyStream, termsOf } from './streams.ts';

const MIB = 1024 * 1024;

/** How long anything in these tests may take on a machine that has a lot to do. */
const PATIENCE_MS = 30_000;

export interface Answer {
  status: number;
  message?: string;
  index?: number;
  metadata?: { size: number; buffer: string };
}

const request = (command: string, data: object) => JSON.stringify({ command, data });

const KSID = '11111111-1111-4111-8111-111111111111';
/** Requests about the one stream of the door. */
export const GET_KEY = request('GET_KEY', { key_stream_id: KSID });
export const OPEN = request('OPEN_CONNECT', { source: 'a', destination: 'b' });
export const CLOSE = request('CLOSE', { key_stream_id: KSID });

export function getKeyWithRoom(size: number): string {
  return request('GET_KEY', { key_stream_id: KSID, metadata: { size, buffer: '' } });
}

const LIMITS = {
  max_request_bytes: 65_536,
  idle_timeout: 60_000,
  request_timeout: 60_000,
  write_timeout: 60_000,
};

let ca: PemPair | undefined;

/** The JSON front end before one stream whose keys come when the test says so; with TLS or without. */
/** Lines that are for nobody. */
const NOBODY_READS = { line: () => undefined };

export class JsonDoor {
  readonly stream = keyStream({
    id: KSID,
    terms: termsOf('xoring', ['ML-KEM-768', 'QKD']),
    qos: { timeoutMs: 5_000 },
    maxBufferedChunks: 1_000,
    clock: systemClock,
  });
  /** The ends of the gateway, in the order in which they were made. */
  readonly served: Connection[] = [];
  /** Who is behind each, as the listener says. */
  readonly owners: Owner[] = [];
  readonly clients: Socket[] = [];
  /** What the delivery was asked for, oldest first. */
  readonly asked: GetKey[] = [];
  readonly closed: string[] = [];
  /** Of connections from now on. */
  limits: JsonClientOptions['limits'] = LIMITS;
  turns: JsonClientOptions['turns'] = new FairTurns();
  /** What OPEN_CONNECT comes to; nothing at all where the test does not say. */
  opening: (request: OpenConnect) => Promise<Opened> = () => new Promise(() => undefined);
  readonly #transport: 'TCP' | 'TLS';
  #listener: Listener | undefined;

  private constructor(transport: 'TCP' | 'TLS') {
    this.#transport = transport;
  }

  static async open(transport: 'TCP' | 'TLS'): Promise<JsonDoor> {
    const pair = ca ?? (await createCa({ network: 'test', days: 1 }));
    ca = pair;
    const door = new JsonDoor(transport);
    door.#listener = await Listener.start({
      address: { host: '127.0.0.1', port: 0 },
      setting: 'door',
      tls: transport === 'TLS' ? 'server' : 'off',
      tlsOptions: () => ({ cert: pair.certificate, key: pair.key }),
      follow: () => undefined,
      limits: { max_connections: 100, shutdown_grace: 0 },
      serve: (accepted) => {
        const connection = serveJsonClient({
          ...{ accepted, delivery: door.#delivery, limits: door.limits, turns: door.turns, log: silentLog },
          refusals: NOBODY_READS,
          settings: {
            ...{ peer_presence: 'node', default_method: 'hkdf-sha256', default_key_sources: ['QKD'] },
          },
        });
        door.owners.push(accepted.owner);
        door.served.push(connection);
        return connection;
      },
      log: silentLog,
      refusals: NOBODY_READS,
    });
    return door;
  }

  /** Asks for a `max_bytes` that differs, and so on. */
  limit(change: Partial<JsonClientOptions['limits']>): void {
    this.limits = { ...LIMITS, ...change };
  }

  async client(): Promise<Socket> {
    const { port } = (this.#listener as Listener).address;
    const options = { port, host: '127.0.0.1', allowHalfOpen: true };
    const isTls = this.#transport === 'TLS';
    const socket = isTls ? connectTls({ ...options, rejectUnauthorized: false }) : connect(options);
    socket.on('error', () => undefined);
    this.clients.push(socket);
    await once(socket, isTls ? 'secureConnect' : 'connect');
    await this.until(() => this.served.length === this.clients.length);
    return socket;
  }

  /** The next `count` answers that come. */
  async answers(socket: Socket, count: number): Promise<Answer[]> {
    const framer = new JsonFramer({ maxBytes: MIB });
    const found: Answer[] = [];
    const receive = (data: Buffer) => {
      for (const frame of framer.push(data)) found.push(JSON.parse(String(frame)));
    };
    socket.on('data', receive);
    await this.until(() => found.length >= count);
    socket.off('data', receive);
    assert.equal(found.length, count);
    return found;
  }

  /** Waits until `check` holds. */
  async until(check: () => boolean): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    while (!check()) {
      assert.ok(performance.now() < end, `never: ${check}`);
      await pause(5);
    }
  }

  /** So many keys have come. */
  release(first: number, count: number): void {
    this.stream.release(first, Buffer.alloc(count * this.stream.qos.keyChunkSize, 7), false);
  }

  agree(change: Partial<Qos>): void {
    this.stream.agree({ ...this.stream.qos, ...change }, false);
  }

  /** Until so many GET_KEYs wait. */
  waiters(count: number): Promise<void> {
    return this.until(() => this.stream.buffer.waiting === count);
  }

  async shut(): Promise<void> {
    for (const socket of [...this.clients, ...this.served.map((connection) => connection.socket)])
      socket.destroy();
    this.stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the test is over'));
    await this.#listener?.stop();
  }

  /** The stream's keys, as the gateway gives them. */
  readonly #delivery: KeyDelivery = {
    open: (wanted) => this.opening(wanted),
    getKey: (wanted) => {
      const { index, signal, waitedMs = 0 } = wanted;
      this.asked.push(wanted);
      let metadata = '';
      const taken = this.stream.take(
        index,
        Math.max(0, this.stream.qos.timeoutMs - waitedMs),
        (chunk) => {
          if (signal.aborted) throw abandonedError();
          metadata = keyMetadata(chunk, this.stream, wanted.metadata);
        },
        signal,
      );
      return taken instanceof Promise
        ? taken.then(({ index, key }) => ({ index, key, metadata }))
        : { index: taken.index, key: taken.key, metadata };
    },
    close: ({ ksid }) => void this.closed.push(ksid),
  };
}
