import { isIP, type Socket, connect as tcpConnect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import {
  encodeClose,
  encodeGetKey,
  encodeOpenConnect,
  type JsonAnswer,
  type OpenData,
  parseJsonAnswer,
} from '#common/etsi/etsi004-json-codec.ts';
import { JsonClient } from '#common/etsi/json-client.ts';

/** A node that has not taken a connection by then is not there. */
const CONNECT_LIMIT_MS = 10_000;

/** TLS towards a listener; PEM. */
export interface ClientTls {
  readonly ca: Buffer;
  /** The own certificate and key, for a listener that asks for one. */
  readonly cert?: Buffer;
  readonly key?: Buffer;
  /** Name that the listener's certificate must carry; by default the host that is dialled. */
  readonly serverName?: string;
}

/** An application's end of the JSON API, over one connection: requests as tests word them, answers as they come. */
export class Etsi004Client {
  readonly #connection: JsonClient;
  readonly #at: string;

  private constructor(socket: Socket, at: string) {
    this.#connection = new JsonClient(socket);
    this.#at = at;
  }

  /** Connects within 10 s, over plain TCP or TLS. @throws KeyweaveError SERVICE_UNAVAILABLE */
  static async connect(address: Address, tls?: ClientTls, signal?: AbortSignal): Promise<Etsi004Client> {
    const at = `${address.host}:${address.port}`;
    signal?.throwIfAborted();
    const socket = await new Promise<Socket>((resolve, reject) => {
      const opening = tls ? tlsConnect(tlsOptions(address, tls)) : tcpConnect(address);
      const fail = (what: string, cause?: unknown) => {
        done();
        opening.destroy();
        reject(new KeyweaveError('SERVICE_UNAVAILABLE', what, { cause }));
      };
      const failed = (cause: NodeJS.ErrnoException) =>
        fail(
          cause.syscall === 'connect' || !tls
            ? `no node answers at ${at}`
            : `TLS with ${at} fails: ${cause.message}`,
          cause,
        );
      const interrupted = () => fail('interrupted');
      const timer = setTimeout(() => fail(`no node answers at ${at} within 10 s`), CONNECT_LIMIT_MS);
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', interrupted);
        opening.removeListener('error', failed);
        // What comes once it is given up is of no interest.
        opening.on('error', () => undefined);
      };
      signal?.addEventListener('abort', interrupted, { once: true });
      opening.on('error', failed);
      opening.once(tls ? 'secureConnect' : 'connect', () => {
        done();
        resolve(opening);
      });
    });
    return new Etsi004Client(socket, at);
  }

  open(data: OpenData): Promise<JsonAnswer> {
    return this.#call('OPEN_CONNECT', encodeOpenConnect(data));
  }

  getKey(keyStreamId: string, index = 0): Promise<JsonAnswer> {
    return this.#call('GET_KEY', encodeGetKey({ key_stream_id: keyStreamId, index }));
  }

  close(keyStreamId: string): Promise<JsonAnswer> {
    return this.#call('CLOSE', encodeClose({ key_stream_id: keyStreamId }));
  }

  async #call(call: string, request: Buffer): Promise<JsonAnswer> {
    let json: unknown;
    try {
      json = await this.#connection.request(request);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new KeyweaveError('SERVICE_UNAVAILABLE', `${call} at ${this.#at} got no answer: ${why}`, {
        cause,
      });
    }
    return parseJsonAnswer(json);
  }

  disconnect(): void {
    this.#connection.destroy();
  }
}

function tlsOptions(address: Address, { serverName, ...pem }: ClientTls) {
  // An IP address goes into no handshake as a name; it is checked against the certificate all the same.
  const servername = serverName ?? (isIP(address.host) === 0 ? address.host : undefined);
  return {
    ...address,
    ...pem,
    ...(servername !== undefined && { servername }),
    minVersion: 'TLSv1.3',
  } as const;
}

/** Opens a stream; gives its KSID. Throws unless the status is 0, or 7 with a KSID. */
export async function openStream(client: Etsi004Client, data: OpenData): Promise<{ ksid: string }> {
  const { status, message, key_stream_id: ksid } = await client.open(data);
  if (ksid === undefined || (status !== 0 && status !== 7))
    throw new Error(`OPEN_CONNECT was answered with status ${status}: ${message}`);
  return { ksid };
}
