import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import {
  ETSI004_MESSAGE,
  HEADER_BYTES,
  NEXT_INDEX,
  type OpenConnectMessage,
  QOS_BYTES,
  readClose,
  readQos,
  writeClose,
  writeGetKey,
  writeOpenConnect,
} from '#common/etsi/etsi004-binary-codec.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';

/** The QoS that the reference's own tests ask for, and are met with. */
export const REFERENCE_QOS: Qos = {
  keyChunkSize: 512,
  maxBps: 40_000,
  minBps: 5_000,
  jitter: 10,
  priority: 0,
  timeoutMs: 5_000,
  ttlS: 3_600,
  metadataMimetype: 'application/json',
};

const PATIENCE_MS = 30_000;

export interface BinaryOpened {
  readonly status: number;
  /** Of status 0 and 7. */
  readonly qos?: Qos;
  readonly ksid?: string;
}

export interface BinaryKey {
  readonly status: number;
  readonly index?: number;
  readonly key?: Buffer;
  readonly metadata?: string;
  /** Of status 8: bytes that the metadata has. */
  readonly neededBytes?: number;
}

/** An application's end of the binary protocol, as a client of the reference's makes it: one request, one answer. */
export class BinaryClient {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  /** Something has come, or the end. */
  #more: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('data', (data: Buffer) => {
      this.#received = Buffer.concat([this.#received, data]);
      this.#more();
    });
    socket.on('end', () => this.#more());
    socket.on('close', () => this.#more());
  }

  /** @param tls where the listener wants it: its CA, and the own certificate and key. */
  static async connect(address: Address, tls?: ConnectionOptions): Promise<BinaryClient> {
    const socket = tls
      ? connectTls({ ...address, ...tls, checkServerIdentity: () => undefined })
      : connect(address.port, address.host);
    const client = new BinaryClient(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once(tls ? 'secureConnect' : 'connect', () => resolve());
      socket.once('error', reject);
    });
    return client;
  }

  async open(
    message: Partial<OpenConnectMessage> & { source: string; destination: string },
  ): Promise<BinaryOpened> {
    const request = writeOpenConnect({ qos: REFERENCE_QOS, ksid: undefined, ...message });
    const payload = await this.#call(request, ETSI004_MESSAGE.OPEN_CONNECT_RESPONSE);
    const status = payload.readUInt32BE(0);
    if (payload.length === 4) return { status };
    return { status, qos: readQos(payload, 4), ksid: readClose(payload.subarray(4 + QOS_BYTES)) };
  }

  async getKey(ksid: string, index = NEXT_INDEX, metadataRoom = 1_024): Promise<BinaryKey> {
    const request = writeGetKey({ ksid, index, metadataRoom });
    const payload = await this.#call(request, ETSI004_MESSAGE.GET_KEY_RESPONSE);
    const status = payload.readUInt32BE(0);
    if (payload.length === 4) return { status };
    if (payload.length === 8) return { status, neededBytes: payload.readUInt32BE(4) };
    const keyBytes = payload.readUInt32BE(8);
    const key = payload.subarray(12, 12 + keyBytes);
    const metadata = payload.subarray(16 + keyBytes, 16 + keyBytes + payload.readUInt32BE(12 + keyBytes));
    return { status, index: payload.readUInt32BE(4), key, metadata: metadata.toString() };
  }

  async close(ksid: string): Promise<number> {
    return (await this.#call(writeClose(ksid), ETSI004_MESSAGE.CLOSE_RESPONSE)).readUInt32BE(0);
  }

  send(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** The next message, header and all; undefined where the connection ends first. */
  async message(): Promise<Buffer | undefined> {
    for (;;) {
      const bytes = this.#wholeBytes();
      if (bytes !== undefined) {
        const message = this.#received.subarray(0, bytes);
        this.#received = this.#received.subarray(bytes);
        return message;
      }
      if (this.socket.readableEnded || this.socket.destroyed) return undefined;
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('no message has come')), PATIENCE_MS);
        this.#more = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  disconnect(): void {
    this.socket.destroy();
  }

  #wholeBytes(): number | undefined {
    if (this.#received.length < HEADER_BYTES) return undefined;
    const bytes = HEADER_BYTES + this.#received.readUInt32BE(4);
    return this.#received.length < bytes ? undefined : bytes;
  }

  async #call(request: Buffer, type: number): Promise<Buffer> {
    this.send(request);
    const message = await this.message();
    if (message === undefined) throw new Error('the connection ended without an answer');
    if (message.readInt8(3) !== type) throw new Error(`a message of type ${message.readInt8(3)} came`);
    return message.subarray(HEADER_BYTES);
  }
}
