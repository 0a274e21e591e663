import { once } from 'node:events';
import { Agent, request } from 'node:https';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import type { Address } from '#common/config/fields.ts';

/** What a KME has answered. */
export interface RestAnswer {
  readonly code: number;
  /** The JSON; undefined where there was none. */
  readonly body: Readonly<Record<string, unknown>>;
  /** The keys of a key container, in its order. */
  readonly keys: readonly { readonly id: string; readonly key: Buffer }[];
}

/** An SAE of ETSI GS QKD 014, on one connection that it keeps. */
export class RestClient {
  readonly #address: Address;
  readonly #agent: Agent;

  /** @param tls certificate and key of the SAE, CA of the KME. */
  constructor(address: Address, tls: ConnectionOptions) {
    this.#address = address;
    this.#agent = new Agent({
      ...(tls as object),
      ...{ keepAlive: true, maxSockets: 1, checkServerIdentity: () => undefined },
    });
  }

  get(path: string): Promise<RestAnswer> {
    return this.send('GET', path);
  }

  post(path: string, body: unknown): Promise<RestAnswer> {
    return this.send('POST', path, JSON.stringify(body));
  }

  /** @param path below `/api/v1/keys/`, or whole where it begins with a slash. */
  send(method: string, path: string, body?: string, type = 'application/json'): Promise<RestAnswer> {
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          ...{ ...this.#address, method, agent: this.#agent },
          path: path.startsWith('/') ? path : `/api/v1/keys/${path}`,
          headers:
            body === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(body) },
        },
        (answer) => {
          const pieces: Buffer[] = [];
          answer.on('data', (piece: Buffer) => pieces.push(piece));
          answer.on('error', reject);
          answer.on('end', () => {
            const text = Buffer.concat(pieces).toString();
            const parsed = text === '' ? {} : JSON.parse(text);
            resolve({ code: answer.statusCode ?? 0, body: parsed, keys: keysIn(parsed) });
          });
        },
      );
      sent.on('error', reject);
      sent.end(body);
    });
  }

  disconnect(): void {
    this.#agent.destroy();
  }
}

/** A bare TLS connection to a KME, for what no HTTP client sends. */
export function rawConnection(address: Address, tls: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...address, ...tls, checkServerIdentity: () => undefined }, () => {
      socket.off('error', reject).on('error', () => undefined);
      resolve(socket);
    });
    socket.on('error', reject);
  });
}

/** Sends something on a connection of its own, ends it, and gives all that comes back until the other end has, too. */
export async function answersTo(
  address: Address,
  tls: ConnectionOptions,
  sent: Buffer | string,
): Promise<string> {
  const socket = await rawConnection(address, tls);
  let answers = '';
  socket.on('data', (data) => {
    answers += data;
  });
  socket.end(sent);
  if (!socket.closed) await once(socket, 'close');
  return answers;
}

function keysIn({ keys = [] }: { keys?: readonly { key_ID: string; key: string }[] }) {
  return keys.map(({ key_ID, key }) => ({ id: key_ID, key: Buffer.from(key, 'base64') }));
}
