import { wipe } from '#common/crypto/bytes.ts';
import { Secret } from '#common/crypto/secret.ts';
import { NEXT_INDEX, writeClose, writeGetKey, writeOpenConnect } from '#common/etsi/etsi004-binary-codec.ts';
import { UUID_ANY_CASE } from '#common/ids/uuid.ts';
import type { Clock } from '#common/time/clock.ts';
import { type Call, failed, plain, refused } from '../key-stream-error.ts';
import { DEFAULT_TIMEOUT_MS, faultOfQos } from '../quality-of-service.ts';
import { type BinaryKey, readClosed, readKey, readOpened } from './binary-answers.ts';
import {
  type BinaryAnswer,
  BinaryConnection,
  MAX_METADATA_BYTES,
  NotBinaryError,
} from './binary-connection.ts';
import type { CallLimit, KeyAnswer, KeyWish, Line, OpenedAnswer, OpenWish, Transport } from './line.ts';
import type { NodeAddress } from './node-address.ts';
import { SocketCalls } from './socket-calls.ts';

/** Status 7 with a QoS: open, on that one. */
const ADJUSTED = 7;

/** Room for metadata that is offered first; where a key has more, it is asked for again with as much. */
const METADATA_ROOM = 4_096;

/** The binary protocol of ETSI's reference implementation of GS QKD 004: a connection for each stream. */
export function binaryTransport(node: NodeAddress, clock: Pick<Clock, 'after' | 'soon'>): Transport {
  return { line: () => new BinaryLine(node, clock), end: () => undefined };
}

class BinaryLine implements Line {
  readonly #calls: SocketCalls<BinaryAnswer>;

  constructor(node: NodeAddress, clock: Pick<Clock, 'after' | 'soon'>) {
    this.#calls = new SocketCalls<BinaryAnswer>({
      ...{ node, clock },
      speak: (socket) => new BinaryConnection(socket),
      isForeign: (thrown) => thrown instanceof NotBinaryError,
    });
  }

  async open({ source, destination, qos, ksid }: OpenWish, limit: CallLimit): Promise<OpenedAnswer> {
    if (ksid !== undefined) assertKsid('OPEN_CONNECT', ksid);
    for (const uri of [source, destination])
      if (uri.includes('\0')) throw failed('BAD_OPTIONS', 'OPEN_CONNECT', 'a URI holds a zero byte');
    // 0 means now in this protocol, and no stream opens so fast.
    const timeoutMs = qos.timeoutMs || DEFAULT_TIMEOUT_MS;
    const request = writeOpenConnect({ source, destination, qos: { ...qos, timeoutMs }, ksid });
    const { status, opened } = await this.#ask('OPEN_CONNECT', request, limit, readOpened);
    if (opened === undefined || (status !== 0 && status !== ADJUSTED))
      throw status === 0 ? badAnswer('OPEN_CONNECT', 'no KSID') : refused('OPEN_CONNECT', status, '');
    const fault = faultOfQos(opened.qos);
    if (fault !== undefined) throw badAnswer('OPEN_CONNECT', fault);
    return { ...opened, adjusted: status === ADJUSTED ? differences(qos, opened.qos) : undefined };
  }

  async getKey({ ksid, index = NEXT_INDEX, qos }: KeyWish, limit: CallLimit): Promise<KeyAnswer> {
    assertKsid('GET_KEY', ksid);
    const fetch = (metadataRoom: number): Promise<BinaryKey> =>
      this.#ask('GET_KEY', writeGetKey({ ksid, index, metadataRoom }), limit, readKey);
    let answer = await fetch(qos.metadataMimetype === '' ? 0 : METADATA_ROOM);
    const { neededBytes = 0 } = answer;
    if (neededBytes > METADATA_ROOM && neededBytes <= MAX_METADATA_BYTES) answer = await fetch(neededBytes);
    const { status, delivered } = answer;
    if (delivered === undefined) throw refused('GET_KEY', status, '');
    const { key, metadata } = delivered;
    if (key.length !== qos.keyChunkSize) {
      wipe(key);
      throw badAnswer('GET_KEY', `a key of ${key.length} bytes, not ${qos.keyChunkSize}`);
    }
    return { index: delivered.index, key: new Secret(key), metadata };
  }

  async close(ksid: string, limit: CallLimit): Promise<void> {
    assertKsid('CLOSE', ksid);
    const status = await this.#ask('CLOSE', writeClose(ksid), limit, readClosed);
    if (status !== 0) throw refused('CLOSE', status, '');
  }

  end(): void {
    this.#calls.end();
  }

  async #ask<T>(
    call: Call,
    request: Buffer,
    limit: CallLimit,
    read: (answer: BinaryAnswer) => T,
  ): Promise<T> {
    const answer = await this.#calls.ask(call, request, limit);
    try {
      return read(answer);
    } catch (thrown) {
      this.#calls.end();
      throw badAnswer(call, plain((thrown as Error).message));
    } finally {
      wipe(answer.payload);
    }
  }
}

function assertKsid(call: Call, ksid: string): void {
  if (!UUID_ANY_CASE.test(ksid)) throw failed('BAD_OPTIONS', call, 'the ksid must be a UUID');
}

function badAnswer(call: Call, what: string) {
  return failed('BAD_ANSWER', call, `the answer to ${call} cannot be: ${what}`, { mayHaveActed: true });
}

/** What was adjusted: this protocol says no words. */
function differences(asked: OpenWish['qos'], given: OpenWish['qos']): string {
  const names = Object.keys(asked) as (keyof OpenWish['qos'])[];
  const changed = names.filter((name) => asked[name] !== given[name] && asked[name] !== 0);
  const words = changed.map((name) => `${name} ${asked[name]} cannot be given, ${given[name]} can`);
  return words.join('; ') || 'the quality of service was adjusted';
}
