import { connect, type Socket } from 'node:net';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import {
  decodeKeyBuffer,
  encodeClose,
  encodeGetKey,
  encodeOpenConnect,
  type JsonAnswer,
  type JsonQos,
  parseJsonAnswer,
} from '#common/etsi/etsi004-json-codec.ts';
import { JsonClient } from '#common/etsi/json-client.ts';

/** The data of an OPEN_CONNECT as the reference's request files hold it. */
export interface OpenData {
  source: string;
  destination: string;
  qos: JsonQos;
  key_stream_id?: string;
}

export interface FetchedKey {
  /** The caller wipes it. */
  readonly key: Buffer;
  readonly index: number | undefined;
  readonly metadata: string | undefined;
}

/** An application's end of the JSON API, over one connection. */
export class Etsi004Client {
  readonly #connection: JsonClient;

  private constructor(connection: JsonClient) {
    this.#connection = connection;
  }

  /** @throws KeyweaveError SERVICE_UNAVAILABLE */
  static async connect(address: Address): Promise<Etsi004Client> {
    const socket = await new Promise<Socket>((resolve, reject) => {
      const opening = connect(address.port, address.host, () => resolve(opening));
      opening.once('error', (cause) => {
        reject(
          new KeyweaveError('SERVICE_UNAVAILABLE', `no node answers at ${address.host}:${address.port}`, {
            cause,
          }),
        );
      });
    });
    return new Etsi004Client(new JsonClient(socket));
  }

  async open(data: OpenData): Promise<JsonAnswer> {
    return parseJsonAnswer(await this.#connection.request(encodeOpenConnect(data)));
  }

  async getKey(keyStreamId: string, index = 0): Promise<JsonAnswer> {
    return parseJsonAnswer(
      await this.#connection.request(encodeGetKey({ key_stream_id: keyStreamId, index })),
    );
  }

  async close(keyStreamId: string): Promise<JsonAnswer> {
    return parseJsonAnswer(await this.#connection.request(encodeClose({ key_stream_id: keyStreamId })));
  }

  disconnect(): void {
    this.#connection.destroy();
  }
}

/** The answer if its status is 0 (or 7 for OPEN_CONNECT, which opens too). @throws KeyweaveError with the node's message. */
export function expectSuccess(call: string, answer: JsonAnswer): JsonAnswer {
  if (answer.status === 0 || (call === 'OPEN_CONNECT' && answer.status === 7)) return answer;
  throw new KeyweaveError(
    'SERVICE_UNAVAILABLE',
    `${call} was answered with status ${answer.status}: ${answer.message}`,
  );
}

/** Opens a stream; gives its KSID and chunk size. */
export async function openStream(
  client: Etsi004Client,
  data: OpenData,
): Promise<{ ksid: string; chunkBytes: number }> {
  const answer = expectSuccess('OPEN_CONNECT', await client.open(data));
  return {
    ksid: answer.key_stream_id ?? '',
    chunkBytes: answer.qos?.key_chunk_size ?? data.qos.key_chunk_size,
  };
}

/** Fetches the next key of a stream. */
export async function fetchKey(client: Etsi004Client, ksid: string, chunkBytes: number): Promise<FetchedKey> {
  const answer = expectSuccess('GET_KEY', await client.getKey(ksid));
  return {
    key: decodeKeyBuffer(answer.key_buffer, chunkBytes),
    index: answer.index,
    metadata: answer.metadata?.buffer,
  };
}
