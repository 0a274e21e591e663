import { Secret } from '#common/crypto/secret.ts';
import {
  decodeKeyBuffer,
  encodeClose,
  encodeGetKey,
  encodeOpenConnect,
  type JsonAnswer,
  jsonQos,
  parseJsonAnswer,
  qosOfJson,
} from '#common/etsi/etsi004-json-codec.ts';
import { JsonClient, NotJsonError } from '#common/etsi/json-client.ts';
import type { Clock } from '#common/time/clock.ts';
import { type Call, failed, plain, refused } from '../key-stream-error.ts';
import { faultOfQos } from '../quality-of-service.ts';
import type { CallLimit, KeyAnswer, KeyWish, Line, OpenedAnswer, OpenWish, Transport } from './line.ts';
import type { NodeAddress } from './node-address.ts';
import { SocketCalls } from './socket-calls.ts';

/** Status 7 with a KSID: open, on the QoS of the answer. */
const ADJUSTED = 7;
const INSUFFICIENT_KEY = 2;

/** Longest KSID that is taken from an answer; ours are UUIDs. */
const MAX_KSID = 128;

/** The JSON dialect of ETSI GS QKD 004: a connection for each stream. */
export function jsonTransport(node: NodeAddress, clock: Pick<Clock, 'after' | 'soon'>): Transport {
  return { line: () => new JsonLine(node, clock), end: () => undefined };
}

class JsonLine implements Line {
  readonly #calls: SocketCalls<unknown>;
  /** A key that came where index 0 was asked for, which this dialect cannot say. */
  #spare: KeyAnswer | undefined;
  /** Whether a key has come: then index 0 is that one, or has gone before. */
  #isPastFirst = false;

  constructor(node: NodeAddress, clock: Pick<Clock, 'after' | 'soon'>) {
    this.#calls = new SocketCalls<unknown>({
      ...{ node, clock },
      speak: (socket) => new JsonClient(socket),
      isForeign: (thrown) => thrown instanceof NotJsonError,
    });
  }

  async open(wish: OpenWish, limit: CallLimit): Promise<OpenedAnswer> {
    const { source, destination, qos, ksid } = wish;
    const data = {
      source,
      destination,
      qos: jsonQos(qos),
      ...(ksid !== undefined && { key_stream_id: ksid }),
    };
    const answer = await this.#ask('OPEN_CONNECT', encodeOpenConnect(data), limit);
    const { status, message, key_stream_id: given } = answer;
    if (status !== 0 && !(status === ADJUSTED && given !== undefined))
      throw refused('OPEN_CONNECT', status, message);
    if (given === undefined || given === '' || given.length > MAX_KSID)
      throw failed('BAD_ANSWER', 'OPEN_CONNECT', 'the answer to OPEN_CONNECT has no key_stream_id');
    const agreed = qosOfJson(answer.qos ?? {}, qos);
    const fault = faultOfQos(agreed);
    if (fault !== undefined)
      throw failed('BAD_ANSWER', 'OPEN_CONNECT', `the QoS of the answer cannot be: ${fault}`);
    return { ksid: plain(given), qos: agreed, adjusted: status === ADJUSTED ? plain(message) : undefined };
  }

  async getKey(wish: KeyWish, limit: CallLimit): Promise<KeyAnswer> {
    const { index } = wish;
    const spare = this.#spare;
    if (spare !== undefined && (index === undefined || index === spare.index)) {
      this.#spare = undefined;
      return spare;
    }
    if (index !== 0) return this.#fetch(wish, limit);
    if (this.#isPastFirst) throw firstHasGone();
    // 0 asks for the next one here, which is the first unless that has gone.
    const answer = await this.#fetch(wish, limit);
    if (answer.index === 0 || answer.index === undefined) return answer;
    this.#spare = answer;
    throw firstHasGone();
  }

  async close(ksid: string, limit: CallLimit): Promise<void> {
    const { status, message } = await this.#ask('CLOSE', encodeClose({ key_stream_id: ksid }), limit);
    if (status !== 0) throw refused('CLOSE', status, message);
  }

  end(): void {
    this.#calls.end();
    this.#spare?.key.wipe();
    this.#spare = undefined;
  }

  async #fetch({ ksid, index = 0, qos }: KeyWish, limit: CallLimit): Promise<KeyAnswer> {
    const request = encodeGetKey({ key_stream_id: ksid, index });
    const answer = await this.#ask('GET_KEY', request, limit);
    if (answer.status !== 0) throw refused('GET_KEY', answer.status, answer.message);
    this.#isPastFirst = true;
    let key: Buffer;
    try {
      key = decodeKeyBuffer(answer.key_buffer, qos.keyChunkSize);
    } catch {
      const what = `the key is not ${qos.keyChunkSize} bytes in a known form`;
      throw failed('BAD_ANSWER', 'GET_KEY', what, { mayHaveActed: true });
    }
    return { index: answer.index, key: new Secret(key), metadata: answer.metadata?.buffer ?? '' };
  }

  async #ask(call: Call, request: Buffer, limit: CallLimit): Promise<JsonAnswer> {
    const json = await this.#calls.ask(call, request, limit);
    try {
      return parseJsonAnswer(json);
    } catch {
      this.#calls.end();
      const what = 'the answer is not a JSON object with a status';
      throw failed('BAD_ANSWER', call, what, { mayHaveActed: true });
    }
  }
}

function firstHasGone() {
  return refused('GET_KEY', INSUFFICIENT_KEY, 'index 0 has been taken, or was dropped at both ends');
}
