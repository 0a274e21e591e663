import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { decodeKeyBuffer, type JsonAnswer, type OpenData } from '#common/etsi/etsi004-json-codec.ts';
import {
  type LocalNode,
  type NodeLog,
  startNode,
  startNodes,
  stopNode,
} from '../../services/cli/demo/local-node.ts';
import { type NodeFiles, nodeUuid, writeNetworkFiles } from '../../services/cli/demo/network-files.ts';
import {
  type KmeSimulator,
  type KmeSimulatorOptions,
  startKmeSimulator,
} from '../../services/kme-simulator/main.ts';
import { Etsi004Client } from './etsi004-client.ts';

export { type LocalNode, nodeUuid, startNode, stopNode };

export interface LocalNetworkOptions {
  names: readonly string[];
  /** Laid over each node's config.json; `folder` is the network's, with the CA in `ca`. */
  config?: (name: string, folder: string) => Record<string, unknown>;
  /** Laid over each node's trusted_peers_info.json: peers by UUID. */
  peers?: (name: string) => Record<string, { shared_seed?: string; address: Address }>;
  kme?: Partial<KmeSimulatorOptions>;
  /** When the CA is made, milliseconds since 1970; now by default. It is good for two days. */
  caMadeMs?: number;
  /** Checkout whose nodes run, with its own packages; by default this one. */
  home?: string;
  /** Where the nodes' console logs go; dropped by default. */
  onLog?: NodeLog;
}

export interface LocalNetwork {
  readonly folder: string;
  readonly nodes: readonly LocalNode[];
  readonly kme: KmeSimulator;
  /** Stops everything and removes the folder; may be called again. */
  stop(): Promise<void>;
}

/** Whole nodes, one or more, with simulated key managers that the test holds in its hands. */
export async function startLocalNetwork(options: LocalNetworkOptions): Promise<LocalNetwork> {
  const { names, config, peers, onLog, home } = options;
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-'));
  let kme: KmeSimulator | undefined;
  let nodes: readonly LocalNode[] = [];
  let stopped: Promise<void> | undefined;
  const stop = () => {
    stopped ??= (async () => {
      await Promise.all(nodes.map((node) => stopNode(node)));
      await kme?.stop();
      rmSync(folder, { recursive: true, force: true });
    })();
    return stopped;
  };
  try {
    // A link has two ends, even where only one node is started.
    const ends = Array.from({ length: Math.max(2, names.length) }, () => ({ host: '127.0.0.1', port: 0 }));
    kme = await startKmeSimulator({ ...options.kme, ends });
    const files = await writeNetworkFiles(folder, names, kme.addresses, options.caMadeMs);
    for (const node of files) {
      layOver(node, 'config.json', config?.(node.name, folder));
      layOver(node, 'trusted_peers_info.json', peers?.(node.name));
    }
    nodes = await startNodes(files, { onLog, home });
    return { folder, nodes, kme, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Replaces members of a file that a node has not read yet. */
function layOver({ folder }: NodeFiles, file: string, changes: object | undefined): void {
  if (!changes) return;
  const path = join(folder, file);
  writeFileSync(
    path,
    JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...changes }, undefined, 2),
  );
}

/** Two nodes for all the tests of a file, and their network, which ends after the last of them. */
export async function twoNodes(
  options: Omit<LocalNetworkOptions, 'names'> = {},
): Promise<{ network: LocalNetwork; alice: LocalNode; bob: LocalNode }> {
  const network = await startLocalNetwork({ ...options, names: ['Alice', 'Bob'] });
  after(() => network.stop());
  const [alice, bob] = network.nodes as [LocalNode, LocalNode];
  return { network, alice, bob };
}

export const QOS = {
  key_chunk_size: 32,
  max_bps: 32,
  min_bps: 32,
  jitter: 0,
  priority: 0,
  timeout: 0,
  ttl: 0,
  metadata_mimetype: 'application/json',
};

/** An OPEN_CONNECT between two nodes; each call names other applications, so that streams do not meet by chance. */
export function openData(
  from: Pick<LocalNode, 'uuid'>,
  to: Pick<LocalNode, 'uuid'>,
  query = 'hybridization=xoring&key_sources=ML-KEM-768,QKD',
  qos: Partial<typeof QOS> = {},
): OpenData {
  const app = `app-${randomUUID()}`;
  return {
    source: `hybrid://${app}@${from.uuid}?${query}`,
    destination: `hybrid://${app}@${to.uuid}?${query}`,
    qos: { ...QOS, ...qos },
  };
}

/** A network that ends with its test, whatever becomes of it. */
export async function networkFor(
  test: { after: (stop: () => Promise<void>) => void },
  options: LocalNetworkOptions,
): Promise<LocalNetwork> {
  const network = await startLocalNetwork(options);
  test.after(() => network.stop());
  return network;
}

/** Two applications with one stream. */
export interface Pair {
  readonly a: Etsi004Client;
  readonly b: Etsi004Client;
  readonly ksid: string;
  readonly opened: readonly [JsonAnswer, JsonAnswer];
  close(): Promise<void>;
}

export async function openPair(network: LocalNetwork, data: OpenData): Promise<Pair> {
  const [first, second] = network.nodes as [LocalNode, LocalNode];
  const [a, b] = await Promise.all([Etsi004Client.connect(first.json), Etsi004Client.connect(second.json)]);
  const opened = await Promise.all([a.open(data), b.open(data)]);
  const ksid = opened[0].key_stream_id ?? '';
  return {
    a,
    b,
    ksid,
    opened,
    close: async () => {
      await Promise.all([a.close(ksid), b.close(ksid)].map((closing) => closing.catch(() => undefined)));
      a.disconnect();
      b.disconnect();
    },
  };
}

/** The key of an answer, of `bytes` bytes. Throws unless the status is 0. */
export function keyOf(answer: JsonAnswer, bytes = 32): Buffer {
  if (answer.status !== 0) throw new Error(`status ${answer.status}: ${answer.message}`);
  return decodeKeyBuffer(answer.key_buffer, bytes);
}

/** Sends raw bytes, optionally in pieces, and gives what comes back until the other end is silent or closes. */
export async function sendRaw(
  address: Address,
  pieces: readonly Buffer[],
  answers = 1,
  limitMs = 15_000,
): Promise<unknown[]> {
  const { JsonFramer } = await import('#common/etsi/json-framer.ts');
  return new Promise((resolve, reject) => {
    const framer = new JsonFramer({ maxBytes: 1_048_576 });
    const found: unknown[] = [];
    const socket = connect(address.port, address.host);
    const timer = setTimeout(() => socket.destroy(new Error(`only ${found.length} answers came`)), limitMs);
    const done = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(found);
    };
    socket.on('connect', async () => {
      for (const piece of pieces) {
        await new Promise((sent) => socket.write(piece, sent));
        if (pieces.length > 1) await new Promise((turn) => setImmediate(turn));
      }
    });
    socket.on('data', (data: Buffer) => {
      for (const frame of framer.push(data))
        if (Buffer.isBuffer(frame)) found.push(JSON.parse(frame.toString()));
      if (found.length >= answers) done();
    });
    socket.on('end', done);
    socket.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

/** Waits until `check` holds, asking again and again; throws after `limitMs`. */
export async function eventually<T>(
  what: string,
  limitMs: number,
  check: () => Promise<T | undefined>,
): Promise<T> {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await check().catch(() => undefined);
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
