import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI014_BASE_PATH, errorSchema } from '#common/etsi/etsi014.ts';
import { decodeJson } from '#common/etsi/json-framer.ts';
import { assertUsable, tlsContext } from '../kme-tls.ts';

/** Requests under way at a time, each on a connection of its own. */
const MAX_CONNECTIONS = 8;

/** Shorter than the idle limits of servers: what we drop ourselves cannot die under a request. */
const IDLE_MS = 4_000;

/** Longest message of a refusal that is passed on, characters. */
const MAX_WORDS = 200;

/** An answer: its code, and its JSON where it has any. */
export interface KmeReply {
  readonly code: number;
  readonly json: unknown;
}

export interface KmeRequest {
  readonly method: 'GET' | 'POST';
  /** SAE id of the other end. */
  readonly sae: string;
  readonly call: 'status' | 'enc_keys' | 'dec_keys';
  readonly body?: object;
  /** Most bytes that the answer may have. */
  readonly maxBytes: number;
}

/** The REST interface of a key manager (ETSI GS QKD 014 V1.1.1, clause 5), one connection a request under way. */
export class KmeHttp {
  readonly #address: Address;
  readonly #settings: NodeConfig['qkd'];
  readonly #agent: HttpAgent;

  /** @throws KeyweaveError BAD_CONFIG when the TLS files are not usable. */
  constructor(address: Address, settings: NodeConfig['qkd']) {
    assertUsable(settings.tls);
    this.#address = address;
    this.#settings = settings;
    const options = { keepAlive: true, noDelay: true, timeout: IDLE_MS, maxSockets: MAX_CONNECTIONS };
    this.#agent = settings.tls ? new Agent(options) : new HttpAgent(options);
  }

  /**
   * One request, sent once.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE where it was surely not sent, QKD_OUT_OF_STEP where its answer is lost.
   */
  async ask(request: KmeRequest, signal: AbortSignal): Promise<KmeReply> {
    let wasSent = false;
    try {
      const response = await this.#send(request, signal, () => {
        wasSent = true;
      });
      const code = response.statusCode ?? 0;
      const body = await bodyOf(response, request.maxBytes);
      try {
        return { code, json: jsonOf(body) };
      } finally {
        body.fill(0);
      }
    } catch (cause) {
      const { host, port } = this.#address;
      const detail = signal.aborted
        ? 'the key manager did not answer in time'
        : wasSent
          ? 'the answer of the key manager was lost'
          : `the key manager at ${host}:${port} cannot be reached`;
      throw new KeyweaveError(wasSent ? 'QKD_OUT_OF_STEP' : 'QKD_UNAVAILABLE', detail, { cause });
    }
  }

  /** Ends all connections. */
  stop(): void {
    this.#agent.destroy();
  }

  #send(
    { method, sae, call, body }: KmeRequest,
    signal: AbortSignal,
    onSent: () => void,
  ): Promise<IncomingMessage> {
    const { tls } = this.#settings;
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const options: RequestOptions = {
      ...this.#address,
      ...{ method, signal, agent: this.#agent },
      path: `${ETSI014_BASE_PATH}/${encodeURIComponent(sae)}/${call}`,
      headers: {
        accept: 'application/json',
        ...(payload && { 'content-type': 'application/json', 'content-length': payload.length }),
      },
    };
    return new Promise((resolve, reject) => {
      const request = tls
        ? httpsRequest({
            ...options,
            ...tlsContext(tls),
            ...(tls.server_name === undefined ? {} : { servername: tls.server_name }),
          })
        : httpRequest(options);
      // Whoever waits for a connection, or for its handshake, has sent nothing.
      request.once('socket', (socket) => {
        if (!socket.connecting) return onSent();
        socket.once(tls ? 'secureConnect' : 'connect', onSent);
      });
      request.once('response', resolve);
      request.on('error', reject);
      request.end(payload);
    });
  }
}

/** Why a key manager refuses, in its own words where it has any. */
export function refusalOf(call: string, { code, json }: KmeReply): KeyweaveError {
  const { data } = errorSchema.safeParse(json);
  const words = data ? `: ${data.message.slice(0, MAX_WORDS)}` : '';
  return new KeyweaveError('QKD_UNAVAILABLE', `the key manager refuses ${call} with ${code}${words}`);
}

async function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of response as AsyncIterable<Buffer>) {
      parts.push(part);
      bytes += part.length;
      if (bytes > maxBytes) throw new Error(`an answer of more than ${maxBytes} bytes`);
    }
    if (!response.complete) throw new Error('the answer was cut');
    return Buffer.concat(parts, bytes);
  } finally {
    for (const part of parts) part.fill(0);
  }
}

/** Undefined for what is no JSON, as the empty body of a 401. */
function jsonOf(body: Buffer): unknown {
  try {
    return decodeJson(body);
  } catch {
    return undefined;
  }
}
