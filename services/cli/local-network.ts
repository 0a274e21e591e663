import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createCa } from '#certs/issue.ts';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type KmeSimulator, type KmeSimulatorOptions, startKmeSimulator } from '../kme-simulator/main.ts';
import { freePorts } from './free-ports.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 20_000;
/** A node that is told to stop a second time kills its services itself. */
const FORCED_STOP_LIMIT_MS = 2_000;

export interface LocalNode {
  readonly name: string;
  readonly uuid: string;
  readonly folder: string;
  readonly json: Address;
  readonly peer: Address;
  /** From the ready line, by service. */
  readonly services: Record<string, { pid: number; address: Address }>;
  readonly process: ChildProcess;
}

export interface LocalNetworkOptions {
  names: readonly string[];
  /** Laid over each node's config.json. */
  config?: (name: string) => Record<string, unknown>;
  /** Laid over each node's trusted_peers_info.json: peers by UUID. */
  peers?: (name: string) => Record<string, { shared_seed?: string; address: Address }>;
  kme?: Partial<KmeSimulatorOptions>;
  /** Where the nodes' console logs go; dropped by default. */
  onLog?: (node: string, line: string) => void;
  /** Gives a start up: what was started is stopped, and the folder removed. */
  signal?: AbortSignal;
  /** Makes stops forcible, also one that is under way. */
  force?: AbortSignal;
}

export interface LocalNetwork {
  readonly folder: string;
  readonly nodes: readonly LocalNode[];
  readonly kme: KmeSimulator;
  /** Stops everything and removes the folder. */
  stop(): Promise<void>;
}

/**
 * Whole nodes with simulated key managers on this machine, each on a loopback
 * address of its own, written as a user of the reference would write them.
 */
export async function startLocalNetwork(options: LocalNetworkOptions): Promise<LocalNetwork> {
  const { signal, force } = options;
  signal?.throwIfAborted();
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-'));
  const children = new Set<ChildProcess>();
  const started: LocalNode[] = [];
  let kme: KmeSimulator | undefined;
  const stop = async () => {
    await stopAll(children, force);
    await kme?.stop();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  };
  const giveUp = () => void stopAll(children, force);
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    kme = await startKmeSimulator({
      ...options.kme,
      // A link has two ends, even where only one node is started.
      ends: [...options.names, 'nobody']
        .slice(0, Math.max(2, options.names.length))
        .map(() => ({ host: '127.0.0.1', port: 0 })),
    });
    const plans = await plan(folder, options, kme);
    signal?.throwIfAborted();
    const outcomes = await Promise.allSettled(
      plans.map(async (one) => {
        const node = await startNode(one, options.onLog, (child) => children.add(child));
        started.push(node);
        return node;
      }),
    );
    signal?.throwIfAborted();
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed) throw failed.reason;
    const nodes = plans.map((one) => started.find((node) => node.name === one.name) as LocalNode);
    return { folder, nodes, kme, stop };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}

async function stopAll(children: Iterable<ChildProcess>, force?: AbortSignal): Promise<void> {
  await Promise.all([...children].map((child) => stopProcess(child, force)));
}

interface NodePlan {
  name: string;
  uuid: string;
  folder: string;
}

async function plan(folder: string, options: LocalNetworkOptions, kme: KmeSimulator): Promise<NodePlan[]> {
  const ca = await createCa({ network: 'keyweave', days: 2 });
  mkdirSync(join(folder, 'ca'));
  writeFileSync(join(folder, 'ca', 'ca.crt'), ca.certificate);
  writeFileSync(join(folder, 'ca', 'ca.key'), ca.key, { mode: 0o600 });
  const nodes = await Promise.all(
    options.names.map(async (name, i) => {
      const host = `127.0.0.${i + 1}`;
      const [json = 0, peer = 0] = await freePorts(host, 2);
      return { name, uuid: nodeUuid(i), host, json, peer, kme: kme.addresses[i] as Address };
    }),
  );
  const peers = Object.fromEntries(
    nodes.map(({ uuid, host, peer }) => [uuid, { shared_seed: '123456789', address: { host, port: peer } }]),
  );
  return nodes.map((node) => {
    const home = join(folder, node.name);
    mkdirSync(home);
    const config = {
      uuid: node.uuid,
      logging_config: {
        console_log_type: 'warning',
        colorless_console_log: true,
        file_log_type: 'debug',
        filename: join(home, 'hybrid.log'),
      },
      certificate_config: {
        certificate_ip: node.host,
        cert_authority_path: join(folder, 'ca', 'ca.crt'),
        cert_path: join(home, 'certs', 'node.crt'),
        key_path: join(home, 'certs', 'node.key'),
      },
      hybridization_server_address: { host: node.host, port: node.json },
      qkd_address: node.kme,
      peer_local_address: { host: node.host, port: node.peer },
      ...options.config?.(node.name),
    };
    writeFileSync(join(home, 'config.json'), JSON.stringify(config, undefined, 2));
    writeFileSync(
      join(home, 'trusted_peers_info.json'),
      JSON.stringify({ ...peers, ...options.peers?.(node.name) }, undefined, 2),
    );
    return { name: node.name, uuid: node.uuid, folder: home };
  });
}

/** aaaaaaaa-aaaa-… for the first node, bbbbbbbb-bbbb-… for the second, as in the reference's examples. */
export function nodeUuid(i: number): string {
  const digit = (10 + i).toString(16);
  return [8, 4, 4, 4, 12].map((length) => digit.repeat(length)).join('-');
}

/** Starts `keyweave node` in a folder that holds its files and waits for the ready line. */
export async function startNode(
  { name, uuid, folder }: NodePlan,
  onLog: (node: string, line: string) => void = () => undefined,
  onSpawn: (child: ChildProcess) => void = () => undefined,
): Promise<LocalNode> {
  const child = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      MAIN,
      'node',
      '--config',
      join(folder, 'config.json'),
      '--peers',
      join(folder, 'trusted_peers_info.json'),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  onSpawn(child);
  const errors: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (errors.length < 20) errors.push(line);
    onLog(name, line);
  });
  const ready = await readyLine(child, name, errors);
  return {
    name,
    uuid,
    folder,
    json: ready.listeners.json,
    peer: ready.listeners.peer,
    services: ready.services,
    process: child,
  };
}

interface ReadyLine {
  ready: true;
  listeners: { json: Address; peer: Address };
  services: LocalNode['services'];
}

function readyLine(child: ChildProcess, name: string, errors: readonly string[]): Promise<ReadyLine> {
  return new Promise((resolve, reject) => {
    const fail = (what: string) => {
      clearTimeout(timer);
      reject(new KeyweaveError('INTERNAL', `node ${name} ${what}\n${errors.join('\n')}`));
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail('was not ready in time');
    }, READY_LIMIT_MS);
    child.once('exit', (code, signal) => fail(`stopped while starting (${signal ?? code})`));
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).once('line', (line) => {
      clearTimeout(timer);
      child.removeAllListeners('exit');
      resolve(JSON.parse(line) as ReadyLine);
    });
  });
}

/** Ends a process that was started here, with SIGTERM first; `force` makes short work of it. */
export async function stopProcess(child: ChildProcess, force?: AbortSignal): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = () => child.kill('SIGKILL');
  let timer = setTimeout(kill, STOP_LIMIT_MS);
  const hurry = () => {
    child.kill('SIGTERM');
    clearTimeout(timer);
    timer = setTimeout(kill, FORCED_STOP_LIMIT_MS);
  };
  child.kill('SIGTERM');
  if (force?.aborted) hurry();
  force?.addEventListener('abort', hurry, { once: true });
  await exited;
  force?.removeEventListener('abort', hurry);
  clearTimeout(timer);
}
