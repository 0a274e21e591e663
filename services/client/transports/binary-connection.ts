import type { Socket } from 'node:net';
import { HEADER_BYTES } from '#common/etsi/etsi004-binary-codec.ts';
import { MAX_KEY_BYTES } from '../quality-of-service.ts';

/** Longest metadata that is taken, bytes. */
export const MAX_METADATA_BYTES = 65_536;

/** Largest payload of an answer: a key with its metadata, and four numbers. */
const MAX_PAYLOAD_BYTES = 16 + MAX_KEY_BYTES + MAX_METADATA_BYTES;

const TYPE_AT = 3;
const LENGTH_AT = 4;

/** What came is no answer of the binary protocol. */
export class NotBinaryError extends Error {}

/** An answer of the binary protocol; its payload is the caller's, who wipes it. */
export interface BinaryAnswer {
  readonly type: number;
  readonly payload: Buffer;
}

interface Pending {
  readonly resolve: (answer: BinaryAnswer) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The client's end of a connection that speaks the binary protocol, one
 * request at a time. Nothing is held but one answer whose length can be right,
 * in memory of its own; what has been received is wiped.
 */
export class BinaryConnection {
  readonly #socket: Socket;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  #payload: Buffer | undefined;
  #payloadBytes = 0;
  #pending: Pending | undefined;
  #closed = false;

  /** Takes over a connected socket. */
  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (data: Buffer) => {
      this.#receive(data);
      data.fill(0);
    });
    socket.on('error', (error) => this.#end(error));
    socket.on('end', () => this.#end(new Error('the server closed the connection')));
    socket.on('close', () => this.#end(new Error('the connection was closed')));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Sends a message; resolves with the one that answers it. Rejects when the connection ends first. */
  request(message: Buffer): Promise<BinaryAnswer> {
    if (this.#closed) return Promise.reject(new Error('the connection is closed'));
    if (this.#pending) return Promise.reject(new Error('a request is under way'));
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject };
      this.#socket.write(message);
    });
  }

  destroy(): void {
    this.#end(new Error('the connection was given up'));
  }

  #receive(data: Buffer): void {
    let at = 0;
    while (at < data.length && !this.#closed) {
      // Nothing may come that nobody has asked for.
      if (this.#pending === undefined) {
        this.#end(new NotBinaryError('an answer to no request'));
        return;
      }
      if (this.#payload === undefined) {
        const copied = data.copy(this.#header, this.#headerBytes, at, at + HEADER_BYTES - this.#headerBytes);
        this.#headerBytes += copied;
        at += copied;
        if (this.#headerBytes < HEADER_BYTES) return;
        const length = this.#header.readUInt32BE(LENGTH_AT);
        if (length > MAX_PAYLOAD_BYTES) {
          this.#end(new NotBinaryError('the answer is too long'));
          return;
        }
        this.#payload = Buffer.allocUnsafeSlow(length);
      }
      const copied = data.copy(this.#payload, this.#payloadBytes, at);
      this.#payloadBytes += copied;
      at += copied;
      if (this.#payloadBytes === this.#payload.length) this.#settle(this.#pending, this.#payload);
    }
  }

  #settle({ resolve }: Pending, payload: Buffer): void {
    const type = this.#header.readInt8(TYPE_AT);
    this.#pending = undefined;
    this.#payload = undefined;
    this.#headerBytes = 0;
    this.#payloadBytes = 0;
    resolve({ type, payload });
  }

  #end(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#payload?.fill(0, 0, this.#payloadBytes);
    this.#payload = undefined;
    this.#socket.destroy();
    this.#pending?.reject(error);
    this.#pending = undefined;
  }
}
