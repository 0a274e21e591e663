import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { decodeJson } from '#common/etsi/json-framer.ts';
import type { LimitedLog } from '#common/log/limited-log.ts';
import type { Log } from '#common/log/log.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import { listenerLayer } from '#common/policy/policy-layers.ts';
import { systemClock } from '#common/time/clock.ts';
import type { Delivered, KeyDelivery, MetadataRoom } from '../../delivery/key-delivery.ts';
import type { Owner } from '../../streams/owner.ts';
import { closeAnswer, errorAnswer, keyAnswer, openAnswer } from './answers.ts';
import { type JsonRequest, parseJsonRequest } from './requests.ts';

/** The client whose requests these are. */
export interface JsonClient {
  readonly owner: Owner;
  /** Fires when its connection has gone, in that very turn. */
  readonly gone: AbortSignal;
  /** Fires when it may have gone: it has closed its sending side at least. */
  readonly silent: AbortSignal;
  /** Whether one that has closed its sending side is there; never rejects. */
  stillReads(): Promise<boolean>;
}

export interface JsonCallsOptions {
  readonly client: JsonClient;
  readonly delivery: KeyDelivery;
  readonly settings: Pick<
    NodeConfig['listeners']['json'],
    'peer_presence' | 'default_method' | 'default_key_sources' | 'policy'
  >;
  readonly log: Log;
  /** Lines about what clients do wrong, limited for each. */
  readonly refusals: Pick<LimitedLog, 'line'>;
}

type OpenRequest = Extract<JsonRequest, { command: 'OPEN_CONNECT' }>;
type GetKeyRequest = Extract<JsonRequest, { command: 'GET_KEY' }>;

/** From the text of a request of one client to the text of its answer. */
export class JsonCalls {
  readonly #o: JsonCallsOptions;

  constructor(options: JsonCallsOptions) {
    this.#o = options;
  }

  /**
   * The answer to any text: at once where it can be, since most can and every
   * key would pay for the turn. Never throws nor rejects. Whoever sends it
   * wipes it.
   */
  answerTo(text: Buffer): Buffer | Promise<Buffer> {
    let request: JsonRequest;
    try {
      request = parseJsonRequest(decodeJson(text));
    } catch (thrown) {
      return this.#unreadable(KeyweaveError.from(thrown));
    }
    try {
      const answer = this.#execute(request);
      return Buffer.isBuffer(answer) ? answer : answer.catch((thrown: unknown) => this.#refusal(thrown));
    } catch (thrown) {
      return this.#refusal(thrown);
    }
  }

  #execute(request: JsonRequest): Buffer | Promise<Buffer> {
    switch (request.command) {
      case 'OPEN_CONNECT':
        return this.#open(request);
      case 'GET_KEY':
        return this.#getKey(request);
      case 'CLOSE':
        this.#o.delivery.close({ ksid: request.ksid, owner: this.#o.client.owner });
        return closeAnswer();
    }
  }

  async #open({ source, destination, qos, ksid }: OpenRequest): Promise<Buffer> {
    const { delivery, settings, client } = this.#o;
    const { owner, gone: signal } = client;
    const opened = await delivery.open({
      ...{ source, destination, qos, ksid, owner, signal, presence: settings.peer_presence },
      defaults: { method: settings.default_method, keySources: settings.default_key_sources },
      policy: listenerLayer('json', settings.policy),
    });
    return openAnswer(opened);
  }

  #getKey(request: GetKeyRequest): Buffer | Promise<Buffer> {
    const { silent, gone } = this.#o.client;
    if (silent.aborted) return this.#getKeyUnheard(request, 0);
    const answer = this.#askForKey(request, silent, 0);
    if (Buffer.isBuffer(answer)) return answer;
    const began = systemClock.monotonicMs();
    return answer.catch((thrown) => {
      if (!silent.aborted || gone.aborted) throw thrown;
      return this.#getKeyUnheard(request, systemClock.monotonicMs() - began);
    });
  }

  /** For a client that has closed its sending side: a key is taken only for one that is sure to read. */
  async #getKeyUnheard(request: GetKeyRequest, waitedMs: number): Promise<Buffer> {
    const { client } = this.#o;
    const began = systemClock.monotonicMs();
    if (!(await client.stillReads())) throw new KeyweaveError('TIMEOUT', 'the application has gone away');
    return this.#askForKey(request, client.gone, waitedMs + systemClock.monotonicMs() - began);
  }

  #askForKey(
    { ksid, index, metadataRoom }: GetKeyRequest,
    signal: AbortSignal,
    waitedMs: number,
  ): Buffer | Promise<Buffer> {
    const { delivery, client } = this.#o;
    const metadata = metadataRoom === undefined ? undefined : shortenedTo(metadataRoom);
    const delivered = delivery.getKey({ ksid, index, metadata, owner: client.owner, signal, waitedMs });
    return delivered instanceof Promise ? delivered.then(encoded) : encoded(delivered);
  }

  #unreadable(error: KeyweaveError): Buffer {
    const { refusals, client } = this.#o;
    const { address } = client.owner;
    const fields = { client: address, reason: error.reason, detail: error.detail };
    refusals.line(clientNetwork(address), 'info', 'a request could not be read', fields);
    return errorAnswer(error);
  }

  /** What delivery refuses, its events tell. */
  #refusal(thrown: unknown): Buffer {
    const error = KeyweaveError.from(thrown);
    if (error.reason === 'INTERNAL') this.#o.log.error('a request failed unexpectedly', {}, thrown);
    return errorAnswer(error);
  }
}

/**
 * Status 8 is not for this dialect: its clients name a room that they do not
 * look at, and would never get a key.
 */
function shortenedTo(room: number): MetadataRoom {
  return { room, whenTooSmall: 'shorten' };
}

function encoded(delivered: Delivered): Buffer {
  const answer = keyAnswer(delivered);
  delivered.key.wipe();
  return answer;
}
