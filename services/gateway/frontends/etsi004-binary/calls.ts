import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ETSI004_MESSAGE } from '#common/etsi/etsi004-binary-codec.ts';
import type { BinaryFrame } from '#common/etsi/etsi004-binary-framer.ts';
import type { LimitedLog } from '#common/log/limited-log.ts';
import type { Log } from '#common/log/log.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import { listenerLayer } from '#common/policy/policy-layers.ts';
import type { Delivered, KeyDelivery, MetadataRoom } from '../../delivery/key-delivery.ts';
import type { Fault } from '../fault.ts';
import type { ForeignUris } from '../foreign-uris.ts';
import type { RequestClient } from '../request-connection.ts';
import { closeAnswer, errorAnswer, keyAnswer, openAnswer } from './answers.ts';
import { type BinaryRequest, parseBinaryRequest } from './requests.ts';

type BinaryListener = NonNullable<NodeConfig['listeners']['binary']>;

export interface BinaryCallsOptions {
  readonly client: Pick<RequestClient, 'owner' | 'gone' | 'silent'>;
  readonly delivery: KeyDelivery;
  readonly settings: Pick<
    BinaryListener,
    'peer_presence' | 'default_method' | 'default_key_sources' | 'policy' | 'max_bps'
  >;
  /** Whom URIs mean that are not this node's own. */
  readonly uris: Pick<ForeignUris, 'peerOf'>;
  readonly log: Log;
  /** Lines about what clients do wrong, limited for each. */
  readonly refusals: Pick<LimitedLog, 'line'>;
}

type OpenRequest = Extract<BinaryRequest, { command: 'OPEN_CONNECT' }>;
type GetKeyRequest = Extract<BinaryRequest, { command: 'GET_KEY' }>;

/** From a message of one client to the message that answers it. */
export class BinaryCalls {
  readonly #o: BinaryCallsOptions;

  constructor(options: BinaryCallsOptions) {
    this.#o = options;
  }

  /**
   * The answer to any message, at once where it can be; none to one of an
   * unknown type, as the reference has it. Never throws nor rejects. Whoever
   * sends it wipes it.
   */
  answerTo(frame: BinaryFrame): Buffer | Promise<Buffer> | undefined {
    const { type } = frame;
    if ('error' in frame && frame.error === 'unknown-type') {
      this.#tell('a message of an unknown type was passed over', { type, bytes: frame.bytes });
      return undefined;
    }
    let request: BinaryRequest;
    try {
      request = parseBinaryRequest(frame);
    } catch (thrown) {
      return this.#unreadable(type, KeyweaveError.from(thrown));
    }
    try {
      const answer = this.#execute(request);
      if (!(answer instanceof Promise)) return answer;
      return answer.catch((thrown: unknown) => this.#refusal(type, thrown));
    } catch (thrown) {
      return this.#refusal(type, thrown);
    }
  }

  /** The answer to a message that is too large to be read, after which there is no other. */
  lastAnswerTo({ type }: BinaryFrame, fault: Fault): Buffer | undefined {
    return isRequest(type) ? errorAnswer(type, fault) : undefined;
  }

  #execute(request: BinaryRequest): Buffer | Promise<Buffer> {
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
    const { delivery, settings, client, uris } = this.#o;
    // In this protocol it means now, and no stream is open so fast.
    if (qos.timeoutMs === 0) throw new KeyweaveError('TIMEOUT', 'a timeout of 0 leaves no time');
    const maxBps = lowered(qos.maxBps, settings.max_bps);
    const opened = await delivery.open({
      ...{ source, destination, ksid, peer: uris.peerOf(source, destination) },
      ...{ qos: { ...qos, maxBps }, presence: settings.peer_presence, atOnce: true },
      ...{ owner: client.owner, signal: client.silent },
      defaults: { method: settings.default_method, keySources: settings.default_key_sources },
      policy: listenerLayer('binary', settings.policy),
    });
    const isAdjusted = opened.adjusted !== undefined || maxBps !== qos.maxBps;
    return openAnswer({ ...opened, isAdjusted });
  }

  #getKey({ ksid, index, metadataRoom }: GetKeyRequest): Buffer | Promise<Buffer> {
    const { delivery, client } = this.#o;
    // No room means that no metadata is wanted (ETSI GS QKD 004 V2.1.1, Table 2).
    const whenTooSmall = metadataRoom === 0 ? 'shorten' : 'refuse';
    const metadata: MetadataRoom = { room: metadataRoom, whenTooSmall };
    const delivered = delivery.getKey({ ksid, index, metadata, owner: client.owner, signal: client.silent });
    return delivered instanceof Promise ? delivered.then(encoded) : encoded(delivered);
  }

  #unreadable(type: number, error: KeyweaveError): Buffer {
    this.#tell('a request could not be read', { reason: error.reason, detail: error.detail });
    return errorAnswer(type, error);
  }

  /** What delivery refuses, its events tell. */
  #refusal(type: number, thrown: unknown): Buffer {
    const error = KeyweaveError.from(thrown);
    if (error.reason === 'INTERNAL') this.#o.log.error('a request failed unexpectedly', {}, thrown);
    return errorAnswer(type, error);
  }

  #tell(what: string, fields: Record<string, string | number>): void {
    const { refusals, client } = this.#o;
    const { address } = client.owner;
    refusals.line(clientNetwork(address), 'info', what, { client: address, ...fields });
  }
}

function isRequest(type: number): boolean {
  const { OPEN_CONNECT_REQUEST, GET_KEY_REQUEST, CLOSE_REQUEST } = ETSI004_MESSAGE;
  return type === OPEN_CONNECT_REQUEST || type === GET_KEY_REQUEST || type === CLOSE_REQUEST;
}

/** No more than the most, of which 0 is none; 0 asks for nothing. */
function lowered(maxBps: number, most: number): number {
  return most === 0 ? maxBps : Math.min(maxBps, most);
}

function encoded(delivered: Delivered): Buffer {
  const answer = keyAnswer(delivered);
  delivered.key.wipe();
  return answer;
}
