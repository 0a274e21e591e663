import type { Address } from '#common/config/fields.ts';
import { jsonQos, type OpenData, qosOfJson } from '#common/etsi/etsi004-json-codec.ts';
import { systemClock } from '#common/time/clock.ts';
import {
  type ClientTls,
  createClient,
  type DeliveredKey,
  type KeyStream,
  type KeyStreamClient,
  KeyStreamError,
} from '../../client/main.ts';
import { fingerprint } from '../fingerprint.ts';
import { commandFailure } from './refused-call.ts';

/** A node that has not taken a connection by then is not there. */
const CONNECT_LIMIT_MS = 10_000;

/** Beyond the longest timeout that a node grants by default: how long a call waits is the request's and the node's. */
const ANSWER_MARGIN_MS = 660_000;

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
  let client: KeyStreamClient | undefined;
  let stream: KeyStream | undefined;

  const tell = (report: CallReport) => {
    calls.push(report);
    options.onCall?.(report);
  };
  const timed = async <T>(
    call: CallReport['call'],
    asking: Promise<T>,
    more: (outcome: T) => Partial<CallReport>,
  ): Promise<T> => {
    const started = systemClock.monotonicMs();
    const ms = () => systemClock.monotonicMs() - started;
    try {
      const outcome = await asking;
      tell({ call, status: 0, ms: ms(), ...more(outcome) });
      return outcome;
    } catch (thrown) {
      if (thrown instanceof KeyStreamError && thrown.status !== undefined)
        tell({ call, status: thrown.status, message: thrown.detail, ms: ms() });
      throw thrown;
    }
  };

  try {
    client = await clientOf(address, tls);
    const { source, destination, qos, key_stream_id: ksid } = request;
    const opening = client.open({ source, destination, qos: qosOfJson(qos), ksid, signal });
    stream = await timed('OPEN_CONNECT', opening, openReport);
    for (let i = 0; i < keys; i++)
      await timed('GET_KEY', stream.next({ signal }), (key) => keyReport(key, showKey));
    await timed('CLOSE', stream.close({ signal }), () => ({}));
    stream = undefined;
    return { calls, error: undefined };
  } catch (thrown) {
    return { calls, error: commandFailure(thrown) };
  } finally {
    client?.end();
    if (stream !== undefined) await closeAnyhow(address, tls, stream);
  }
}

function clientOf({ host, port }: Address, tls: ClientTls | undefined): Promise<KeyStreamClient> {
  const limits = { connectMs: CONNECT_LIMIT_MS, marginMs: ANSWER_MARGIN_MS };
  return createClient({ host, port, tls, limits, retry: false });
}

function openReport({ ksid, qos, adjusted }: KeyStream): Partial<CallReport> {
  return {
    // A stream that is open on another QoS than was asked for.
    ...(adjusted !== undefined && { status: 7, ...(adjusted && { message: adjusted }) }),
    key_stream_id: ksid,
    qos: jsonQos(qos),
  };
}

function keyReport(delivered: DeliveredKey, showKey: boolean): Partial<CallReport> {
  using key = delivered;
  const bytes = key.key.expose();
  return {
    index: key.index,
    bytes: bytes.length,
    sha256: fingerprint(bytes),
    ...(showKey && { key: bytes.toString('hex') }),
    ...(key.metadataText && { metadata: key.metadataText }),
  };
}

/** Over a connection of its own: the other one may wait for a key, and answers come in order. */
async function closeAnyhow(address: Address, tls: ClientTls | undefined, stream: KeyStream): Promise<void> {
  try {
    using client = await clientOf(address, tls);
    const { ksid, qos, position } = stream;
    await client.resume({ ksid, qos, position }).close({ signal: AbortSignal.timeout(CLEAN_UP_LIMIT_MS) });
  } catch {
    // A node that cannot be reached has no stream to close, or will end it by its TTL.
  }
}
