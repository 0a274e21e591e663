import { randomUUID } from 'node:crypto';
import type { Address } from '#common/config/fields.ts';
import type { LocalNetwork } from '../../helpers/network.ts';
import { QOS } from '../../helpers/network.ts';
import { comparable, LoadClient } from './load-client.ts';

/** One end as the applications see it. */
interface End {
  readonly uuid: string;
  readonly json: Address;
}

/** What the benchmark's streams are of; plain data, since clients are processes of their own. */
export interface StreamKind {
  readonly ends: readonly [End, End];
  readonly sources: string;
  readonly method: string;
}

/** An open stream with a connection of its own at each end. */
export interface BenchStream {
  readonly a: LoadClient;
  readonly b: LoadClient;
  /** A GET_KEY for the next key. */
  readonly get: string;
  /** From OPEN_CONNECT at both ends until both have answered. */
  readonly openMs: number;
}

export function streamKind({ nodes }: LocalNetwork, of: { sources: string; method: string }): StreamKind {
  const [a, b] = nodes.map(({ uuid, json }) => ({ uuid, json })) as [End, End];
  return { ends: [a, b], ...of };
}

/** Both ends' connections, and the OPEN_CONNECT for both. */
export async function prepareStream({ ends, sources, method }: StreamKind) {
  const [a, b] = await Promise.all(ends.map(({ json }) => LoadClient.connect(json)));
  const query = `hybridization=${method}&key_sources=${sources}`;
  const [source, destination] = ends.map(({ uuid }) => `hybrid://bench-${APP}-${count}@${uuid}?${query}`);
  count += 1;
  const qos = { ...QOS, max_bps: 0, min_bps: 0, timeout: 30_000 };
  const open = JSON.stringify({ command: 'OPEN_CONNECT', data: { source, destination, qos } });
  return { a: a as LoadClient, b: b as LoadClient, open };
}

/** Names that differ between processes. */
const APP = randomUUID();
let count = 0;

export async function openStream(kind: StreamKind): Promise<BenchStream> {
  const { a, b, open } = await prepareStream(kind);
  const started = performance.now();
  const [answer] = await Promise.all([a.request(open), b.request(open)]);
  return { a, b, get: getRequest(answer), openMs: performance.now() - started };
}

/** The GET_KEY of the stream that an answer to OPEN_CONNECT tells of. */
export function getRequest(openAnswer: string): string {
  const { status, key_stream_id, message } = JSON.parse(openAnswer) as {
    status: number;
    key_stream_id: string;
    message?: string;
  };
  if (status !== 0) throw new Error(`OPEN_CONNECT: status ${status} ${message}`);
  return JSON.stringify({ command: 'GET_KEY', data: { key_stream_id, index: 0 } });
}

/** @throws Error unless both answers bring the same key. */
export function assertSameKey(a: string, b: string): void {
  if (!a.startsWith('{"status":0') || comparable(a) !== comparable(b)) {
    throw new Error(`the two ends were not given the same key: ${a.slice(0, 12)} … ${b.slice(0, 12)} …`);
  }
}

export async function closeStream({ a, b, get }: Pick<BenchStream, 'a' | 'b' | 'get'>): Promise<void> {
  const close = get.replace('GET_KEY', 'CLOSE');
  await Promise.all([a.request(close), b.request(close)]);
  a.close();
  b.close();
}
