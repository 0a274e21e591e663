import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { PeerCertificate, TLSSocket, TlsOptions } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import { ETSI014_BASE_PATH, keyIdsSchema, keyRequestSchema } from '#common/etsi/etsi014.ts';
import type { Faults, Habit } from '../faults.ts';
import type { KeyDesk } from '../key-desk.ts';
import type { KeyPool } from '../key-pool.ts';
import { EndListener } from './end-listener.ts';
import type { SimulatedEnd } from './simulated-end.ts';

const MAX_BODY_BYTES = 65_536;

/** What the key managers of the simulation give, as Status says it. */
export interface Etsi014Limits {
  readonly defaultBits: number;
  readonly minBits: number;
  readonly maxBits: number;
  readonly maxPerRequest: number;
}

export const DEFAULT_LIMITS: Etsi014Limits = {
  defaultBits: 256,
  minBits: 64,
  maxBits: 524_288,
  maxPerRequest: 128,
};

export interface Etsi014EndOptions {
  readonly end: number;
  readonly desk: KeyDesk;
  readonly pool: KeyPool;
  readonly faults: Faults;
  readonly habit?: Habit | undefined;
  readonly tls?: TlsOptions | undefined;
  /** SAE ids by the ends that their applications are at. */
  readonly saeIds: readonly string[];
  readonly limits: Etsi014Limits;
}

interface Reply {
  readonly code: number;
  readonly body?: unknown;
}

const refusal = (code: number, message: string): Reply => ({ code, body: { message } });

/** One key manager of the simulated network that speaks ETSI GS QKD 014 V1.1.1. */
export class Etsi014End implements SimulatedEnd {
  readonly #options: Etsi014EndOptions;
  readonly #listener = new EndListener({
    make: () => this.#make(),
    cut: (server) => (server as Server).closeAllConnections(),
  });
  #connections = 0;

  constructor(options: Etsi014EndOptions) {
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
    const listener = (request: IncomingMessage, response: ServerResponse) =>
      void this.#serve(request, response).catch(() => request.socket.destroy());
    const server = tls ? createTlsServer({ ...tls, noDelay: true }, listener) : createServer(listener);
    server.on(tls ? 'secureConnection' : 'connection', () => {
      this.#connections += 1;
    });
    return server;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { faults, habit } = this.#options;
    if (faults.strikes('refuse')) {
      request.socket.destroy();
      return;
    }
    if (faults.strikes('hang')) return new Promise(() => undefined);
    const { code, body } = await this.#answer(request);
    const text = body === undefined ? '' : JSON.stringify(body);
    const closes = habit === 'close-after-answer' || faults.strikes('close-after-answer');
    response.writeHead(code, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      ...(closes && { connection: 'close' }),
    });
    if (faults.strikes('drop')) {
      response.write(text.slice(0, text.length / 2), () => request.socket.destroy());
      return;
    }
    if (habit !== 'byte-by-byte') {
      response.end(text);
      return;
    }
    for (const character of text.slice(0, 64))
      await new Promise((written) => response.write(character, written));
    response.end(text.slice(64));
  }

  async #answer(request: IncomingMessage): Promise<Reply> {
    const { end, saeIds, tls } = this.#options;
    const text = await readBody(request);
    const own = saeIds[end] ?? '';
    if (tls && !namesOf(request.socket as TLSSocket).includes(own)) return { code: 401 };
    const url = new URL(request.url ?? '/', 'https://kme');
    const [sae, call, ...rest] = url.pathname.slice(ETSI014_BASE_PATH.length + 1).split('/');
    if (!url.pathname.startsWith(`${ETSI014_BASE_PATH}/`) || rest.length > 0 || sae === undefined) {
      return refusal(404, 'there is no such resource');
    }
    const other = saeIds.findIndex((id, at) => at !== end && id === decodeURIComponent(sae));
    if (other < 0) return refusal(404, 'the SAE is not known');
    if (request.method === 'GET' && call === 'status') return this.#status(other);
    let json: unknown;
    try {
      json = request.method === 'POST' ? JSON.parse(text) : queryOf(url);
    } catch {
      return refusal(400, 'the body is not JSON');
    }
    if (call === 'enc_keys') return this.#encKeys(other, json);
    if (call === 'dec_keys') return this.#decKeys(other, json);
    return refusal(404, 'there is no such resource');
  }

  #status(other: number): Reply {
    const { end, saeIds, limits } = this.#options;
    const body = {
      source_KME_ID: `kme-${end}`,
      target_KME_ID: `kme-${other}`,
      master_SAE_ID: saeIds[end],
      slave_SAE_ID: saeIds[other],
      key_size: limits.defaultBits,
      stored_key_count: limits.maxPerRequest,
      max_key_count: limits.maxPerRequest,
      max_key_per_request: limits.maxPerRequest,
      max_key_size: limits.maxBits,
      min_key_size: limits.minBits,
      max_SAE_ID_count: 0,
    };
    return { code: 200, body };
  }

  /** Fewer than asked where the link has run dry, as some give; none is 503. */
  #encKeys(slave: number, json: unknown): Reply {
    const { end, pool, desk, faults, limits } = this.#options;
    const parsed = keyRequestSchema.safeParse(json ?? {});
    if (!parsed.success) return refusal(400, 'the key request cannot be met');
    const { number, size = limits.defaultBits } = parsed.data;
    if (size % 8 !== 0) return refusal(400, 'size shall be a multiple of 8');
    if (number > limits.maxPerRequest || size < limits.minBits || size > limits.maxBits) {
      return refusal(400, 'number or size is out of range');
    }
    const keys: object[] = [];
    if (faults.strikes('dry')) return refusal(503, 'there are no keys');
    while (keys.length < number) {
      const made = pool.make(end, slave, size / 8);
      if (!made) break;
      keys.push({ key_ID: made.id, key: desk.handOut(made.key).toString('base64') });
    }
    return keys.length === 0 && number > 0
      ? refusal(503, 'there are no keys')
      : { code: 200, body: { keys } };
  }

  #decKeys(master: number, json: unknown): Reply {
    const { end, pool, desk, faults } = this.#options;
    const parsed = keyIdsSchema.safeParse(json);
    if (!parsed.success) return refusal(400, 'the key IDs cannot be read');
    const ids = parsed.data.key_IDs.map(({ key_ID }) => key_ID);
    if (faults.strikes('dry')) return refusal(503, 'there are no keys');
    const found = pool.fetch(master, end, ids);
    if (!found) return refusal(400, 'one or more keys specified are not found on KME');
    const keys = found.map((key, i) => ({ key_ID: ids[i], key: desk.handOut(key).toString('base64') }));
    return { code: 200, body: { keys } };
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    // The rest is read and dropped, so that the answer still gets out.
    if (bytes <= MAX_BODY_BYTES) parts.push(part);
  }
  return bytes > MAX_BODY_BYTES ? '' : Buffer.concat(parts).toString();
}

function queryOf({ searchParams }: URL): unknown {
  const id = searchParams.get('key_ID');
  if (id !== null) return { key_IDs: [{ key_ID: id }] };
  return Object.fromEntries([...searchParams].map(([name, value]) => [name, Number(value)]));
}

/** What a client certificate calls its owner: common name, DNS names, and the parts of its URIs. */
function namesOf(socket: TLSSocket): string[] {
  const { subject, subjectaltname = '' } = socket.getPeerCertificate() as Partial<PeerCertificate>;
  const alternatives = subjectaltname.split(', ').flatMap((name) => name.replace(/^\w+:/, '').split('/'));
  return [subject?.CN ?? '', ...alternatives].flat();
}
