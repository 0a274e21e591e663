import { randomUUID } from 'node:crypto';
import type { Address } from '#common/config/fields.ts';
import type { JsonAnswer, OpenData } from '#common/etsi/etsi004-json-codec.ts';
import { type HistoryEntry, keyIn } from './delivery-history.ts';
import { Etsi004Client } from './etsi004-client.ts';
import { QOS } from './network.ts';

export const KEY_BYTES = 32;

/** Longest that a GET_KEY may wait, as the applications ask for. */
const TIMEOUT_MS = 2_000;
/** An application takes a node that has not answered by then for gone, and connects anew. */
const PATIENCE_MS = 4_000;
const RETRY_MS = 200;
const UNKNOWN_STREAM = 3;

/** A node that applications ask. */
export interface LoadedNode {
  readonly name: string;
  readonly uuid: string;
  /** Its JSON API. */
  readonly json: Address;
}

/** A stream that was lost, with the node's words. */
export interface Loss {
  readonly atMs: number;
  readonly end: 0 | 1;
  readonly between: readonly string[];
  readonly message: string;
}

/** What a load tells as it goes on. */
export interface LoadSink {
  answered(entry: HistoryEntry): void;
  lost(loss: Loss): void;
}

export interface PairLoadOptions {
  between: readonly [LoadedNode, LoadedNode];
  /** At each end. */
  keysPerSecond: number;
  sink: LoadSink;
  query?: string;
}

/**
 * Two applications of one stream, each fetching keys at a steady rate. They do
 * what applications do: connect again when the connection is lost, and open a
 * new stream when the node says that it no longer knows the old one.
 */
export class PairLoad {
  readonly between: readonly [string, string];
  readonly #options: PairLoadOptions;
  readonly #clients: (Etsi004Client | undefined)[] = [undefined, undefined];
  #ksid = '';
  #opening: Promise<void> | undefined;
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  private constructor(options: PairLoadOptions) {
    const [source, destination] = options.between;
    this.between = [source.name, destination.name];
    this.#options = options;
  }

  /** Opens a stream and starts to fetch. */
  static async start(options: PairLoadOptions): Promise<PairLoad> {
    const load = new PairLoad(options);
    await load.#open();
    load.#running = Promise.all([load.#fetchAll(0), load.#fetchAll(1)]);
    return load;
  }

  get ksid(): string {
    return this.#ksid;
  }

  /** Stops fetching and closes the stream. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    for (const client of this.#clients) {
      await withPatience(client?.close(this.#ksid)).catch(() => undefined);
      client?.disconnect();
    }
  }

  async #fetchAll(end: 0 | 1): Promise<void> {
    const everyMs = 1000 / this.#options.keysPerSecond;
    for (let due = Date.now(); !this.#stopped; due = Math.max(due + everyMs, Date.now() - 1000)) {
      await pause(due - Date.now());
      await this.#opening;
      const ksid = this.#ksid;
      const { status, message } = await this.#ask(end, 'GET_KEY', ksid, (client) => client.getKey(ksid));
      if (status === undefined) await pause(RETRY_MS);
      if (status === UNKNOWN_STREAM && ksid === this.#ksid && !this.#stopped) {
        this.#options.sink.lost({ atMs: Date.now(), end, between: this.between, message });
        this.#opening ??= this.#open().finally(() => {
          this.#opening = undefined;
        });
      }
    }
  }

  /** Opens at both ends until both nodes agree. */
  async #open(): Promise<void> {
    while (!this.#stopped) {
      const data = this.#openData();
      let given: string | undefined;
      const open = (end: 0 | 1) =>
        this.#ask(end, 'OPEN_CONNECT', '', async (client) => {
          const answer = await client.open(data);
          given = answer.key_stream_id ?? given;
          return answer;
        });
      const answers = await Promise.all([open(0), open(1)]);
      if (answers.every(({ status }) => status === 0) && given !== undefined) {
        this.#ksid = given;
        return;
      }
      await pause(RETRY_MS);
    }
  }

  #openData(): OpenData {
    const { between, query = 'hybridization=xoring&key_sources=ML-KEM-768,QKD' } = this.#options;
    const [source, destination] = between.map(({ uuid }) => `hybrid://app-${randomUUID()}@${uuid}?${query}`);
    return {
      source: source as string,
      destination: destination as string,
      qos: { ...QOS, key_chunk_size: KEY_BYTES, timeout: TIMEOUT_MS },
    };
  }

  /** One request, noted in the history with its answer or the lack of one. */
  async #ask(
    end: 0 | 1,
    op: HistoryEntry['op'],
    ksid: string,
    request: (client: Etsi004Client) => Promise<JsonAnswer>,
  ): Promise<HistoryEntry> {
    const sentMs = Date.now();
    let outcome: Pick<HistoryEntry, 'status' | 'message'> & Partial<HistoryEntry>;
    try {
      const client = this.#clients[end] ?? (await this.#connect(end));
      const answer = await withPatience(request(client));
      const { status, message = '' } = answer;
      outcome = { status, message, ...(op === 'GET_KEY' && status === 0 && keyIn(answer, KEY_BYTES)) };
    } catch (error) {
      this.#clients[end]?.disconnect();
      this.#clients[end] = undefined;
      outcome = { status: undefined, message: String(error) };
    }
    const application = `${this.between.join('-')}/${end}`;
    const entry = { op, application, ksid, end, sentMs, answeredMs: Date.now(), ...outcome };
    this.#options.sink.answered(entry);
    return entry;
  }

  async #connect(end: 0 | 1): Promise<Etsi004Client> {
    // A connection that comes later than that is nobody's, and must not stay: the process would not end.
    const patience = AbortSignal.timeout(PATIENCE_MS);
    const client = await Etsi004Client.connect(this.#options.between[end].json, undefined, patience);
    this.#clients[end] = client;
    return client;
  }
}

async function withPatience<T>(work: Promise<T> | undefined): Promise<T> {
  const giveUp = Promise.withResolvers<never>();
  const timer = setTimeout(() => giveUp.reject(new Error('no answer')), PATIENCE_MS);
  try {
    return await Promise.race([work as Promise<T>, giveUp.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
