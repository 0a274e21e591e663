import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { startable } from '#common/service/installation.ts';
import { CACHE_ENVIRONMENT } from '../compile-cache.ts';
import type { NodeFiles } from './network-files.ts';

const MAIN = fileURLToPath(startable('../main.ts', import.meta.url));
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 20_000;
/** A node that is told to stop a second time kills its services itself. */
const FORCED_STOP_LIMIT_MS = 2_000;

/** A whole node that runs on this machine as a child of this process. */
export interface LocalNode extends NodeFiles {
  readonly json: Address;
  /** Undefined where the listener is not configured. */
  readonly binary: Address | undefined;
  readonly grpc: Address | undefined;
  readonly rest: Address | undefined;
  readonly skip: Address | undefined;
  readonly console: Address | undefined;
  readonly peer: Address;
  /** From the ready line, by service. */
  readonly services: Record<string, { pid: number; address: Address }>;
  readonly process: ChildProcess;
}

/** Gets the lines that a node logs to its console. */
export type NodeLog = (node: string, line: string) => void;

export interface NodeStart {
  /** Where the console logs go; dropped by default. */
  readonly onLog?: NodeLog | undefined;
  /** Checkout whose nodes run, with its own packages; by default this one. */
  readonly home?: string | undefined;
  /** Gets each process as soon as there is one, long before its node is ready. */
  readonly onSpawn?: (child: ChildProcess) => void;
}

/** Starts nodes side by side and waits until all are ready; where one fails, all are stopped. */
export async function startNodes(nodes: readonly NodeFiles[], options: NodeStart = {}): Promise<LocalNode[]> {
  const outcomes = await Promise.allSettled(nodes.map((files) => startNode(files, options)));
  const started = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (!failed) return started;
  await Promise.all(started.map((node) => stopNode(node)));
  throw failed.reason;
}

/** Starts `keyweave node` in a folder that holds its files and waits for the ready line. */
export async function startNode(
  { name, uuid, folder }: NodeFiles,
  { onLog, home, onSpawn }: NodeStart = {},
): Promise<LocalNode> {
  const child = spawn(
    home === undefined ? process.execPath : join(home, 'node_modules/.bin/node'),
    [
      '--disable-warning=ExperimentalWarning',
      home === undefined ? MAIN : join(home, 'services/cli/main.ts'),
      'node',
      '--config',
      join(folder, 'config.json'),
      '--peers',
      join(folder, 'trusted_peers_info.json'),
    ],
    { env: { ...process.env, ...CACHE_ENVIRONMENT }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  onSpawn?.(child);
  const errors: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (errors.length < 20) errors.push(line);
    onLog?.(name, line);
  });
  const ready = await readyLine(child, name, errors);
  return {
    name,
    uuid,
    folder,
    json: ready.listeners.json,
    binary: ready.listeners.binary,
    grpc: ready.listeners.grpc,
    rest: ready.listeners.rest,
    skip: ready.listeners.skip,
    console: ready.listeners.console,
    peer: ready.listeners.peer,
    services: ready.services,
    process: child,
  };
}

interface ReadyLine {
  ready: true;
  listeners: {
    json: Address;
    binary?: Address;
    grpc?: Address;
    rest?: Address;
    skip?: Address;
    console?: Address;
    peer: Address;
  };
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

/** Ends a node that was started here, with SIGTERM first. */
export function stopNode({ process: child }: LocalNode): Promise<void> {
  return stopProcess(child);
}

/** Ends the process of a node, with SIGTERM first; `force` makes short work of it. */
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
