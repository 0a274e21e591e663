import type { Address } from '#common/config/fields.ts';
import type { JsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import { decodeKeyBuffer } from '#common/etsi/etsi004-json-codec.ts';
import { systemClock } from '#common/time/clock.ts';
import { type ClientTls, Etsi004Client, expectSuccess, type OpenData } from '../etsi004-client.ts';
import { fingerprint } from '../fingerprint.ts';

/** Longest wait for the CLOSE of a stream that is given up. */
const CLEAN_UP_LIMIT_MS = 2_000;

export interface CycleOptions {
  readonly address: Address;
  readonly tls: ClientTls | undefined;
  readonly request: OpenData;
  readonly keys: number;
  readonly showKey: boolean;
  /** Gives the cycle up; what it has opened is closed. */
  readonly signal: AbortSignal;
  /** Called with each answer as it comes. */
  readonly onCall?: (call: CallReport) => void;
}

/** What came of one call, without its key unless that was asked for. */
export interface CallReport {
  readonly call: 'OPEN_CONNECT' | 'GET_KEY' | 'CLOSE';
  readonly status: number;
  readonly message?: string;
  readonly ms: number;
  readonly key_stream_id?: string;
  readonly qos?: object;
  readonly index?: number;
  readonly bytes?: number;
  /** First bytes of the key's SHA-256, hex. */
  readonly sha256?: string;
  readonly key?: string;
  readonly metadata?: string;
}

export interface CycleReport {
  readonly calls: readonly CallReport[];
  /** Why it ended early; undefined where every call succeeded. */
  readonly error: unknown;
}

/** One OPEN_CONNECT, GET_KEY, CLOSE cycle. Whatever happens, the stream that it has opened is closed; never rejects. */
export async function runCycle(options: CycleOptions): Promise<CycleReport> {
  const { address, tls, request, keys, showKey, signal } = options;
  const calls: CallReport[] = [];
  let client: Etsi004Client | undefined;
  let ksid: string | undefined;

  const timed = async (
    call: CallReport['call'],
    asking: Promise<JsonAnswer>,
    more: (answer: JsonAnswer) => object,
  ) => {
    const started = systemClock.monotonicMs();
    const answer = await untilAborted(asking, signal);
    const { status, message } = answer;
    if (call === 'OPEN_CONNECT' && (status === 0 || status === 7)) ksid = answer.key_stream_id;
    const report: CallReport = {
      call,
      status,
      ...(message && { message }),
      ms: systemClock.monotonicMs() - started,
      ...(status === 0 || status === 7 ? more(answer) : {}),
    };
    calls.push(report);
    options.onCall?.(report);
    return expectSuccess(call, answer);
  };

  try {
    client = await Etsi004Client.connect(address, tls, signal);
    const opened = await timed('OPEN_CONNECT', client.open(request), ({ key_stream_id, qos }) => ({
      key_stream_id,
      qos,
    }));
    const bytes = opened.qos?.key_chunk_size ?? request.qos.key_chunk_size;
    for (let i = 0; i < keys; i++)
      await timed('GET_KEY', client.getKey(ksid ?? ''), (answer) => keyReport(answer, bytes, showKey));
    await timed('CLOSE', client.close(ksid ?? ''), () => ({}));
    ksid = undefined;
    return { calls, error: undefined };
  } catch (error) {
    return { calls, error };
  } finally {
    client?.disconnect();
    if (ksid !== undefined) await closeAnyhow(address, tls, ksid);
  }
}

function keyReport(answer: JsonAnswer, bytes: number, showKey: boolean): object {
  const key = decodeKeyBuffer(answer.key_buffer, bytes);
  const report = {
    index: answer.index,
    bytes: key.length,
    sha256: fingerprint(key),
    ...(showKey && { key: key.toString('hex') }),
    ...(answer.metadata && { metadata: answer.metadata.buffer }),
  };
  key.fill(0);
  return report;
}

/** Over a connection of its own: the other one may wait for a key, and answers come in order. */
async function closeAnyhow(address: Address, tls: ClientTls | undefined, ksid: string): Promise<void> {
  const limit = AbortSignal.timeout(CLEAN_UP_LIMIT_MS);
  try {
    const client = await Etsi004Client.connect(address, tls, limit);
    try {
      await untilAborted(client.close(ksid), limit);
    } finally {
      client.disconnect();
    }
  } catch {
    // A node that cannot be reached has no stream to close, or will end it by its TTL.
  }
}

/** @throws whatever the signal was aborted with, as soon as it is */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => undefined);
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
