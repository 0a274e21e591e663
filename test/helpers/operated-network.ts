import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createCa } from '#certs/issue.ts';
import { eventually, type LocalNetwork, type LocalNode, startLocalNetwork } from './network.ts';

const MAIN = fileURLToPath(new URL('../../services/cli/main.ts', import.meta.url));
const run = promisify(execFile);

/** Files are looked at every two seconds; the rest is for a machine that is busy. */
export const NOTICE_MS = 60_000;

/** One line of a node's log file. */
export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly service: string;
  readonly [field: string]: unknown;
}

/** A network whose certificates, revocation list and peers lie where an operator would have them. */
export interface OperatedNetwork extends LocalNetwork {
  /** Of each node by its name: `ca/ca.crt`, `ca/ca.key`, `ca/ca.crl`, `certs/`. */
  home(name: string): string;
  /** The log of a node, so far. */
  log(node: LocalNode): LogLine[];
  /** Waits until so many lines of the log hold what is asked. */
  logged(node: LocalNode, what: string, count: number, holds: (line: LogLine) => boolean): Promise<LogLine[]>;
}

export interface OperatedNetworkOptions {
  names: readonly string[];
  /** Each node has its own copy of the CA; who issues has its key, too. */
  withKey: (name: string) => boolean;
  caDays: number;
  /** When the CA is made; now by default. */
  caMadeMs?: number;
  config?: (name: string) => Record<string, unknown>;
}

export async function startOperatedNetwork(options: OperatedNetworkOptions): Promise<OperatedNetwork> {
  const root = mkdtempSync(join(tmpdir(), 'keyweave-operated-'));
  const home = (name: string) => join(root, name);
  const nowMs = options.caMadeMs ?? Date.now();
  const ca = await createCa({ network: 'keyweave', days: options.caDays, nowMs });
  for (const name of options.names) {
    mkdirSync(join(home(name), 'ca'), { recursive: true });
    writeFileSync(join(home(name), 'ca', 'ca.crt'), ca.certificate);
    writeFileSync(join(home(name), 'ca', 'ca.key'), ca.key, { mode: 0o600 });
    await keyweave('certs', 'revoke', '--ca', join(home(name), 'ca'));
  }
  const network = await startLocalNetwork({
    names: options.names,
    config: (name) => ({
      certificate_config: {
        certificate_ip: `127.0.0.${options.names.indexOf(name) + 1}`,
        cert_authority_path: join(home(name), 'ca', 'ca.crt'),
        crl_path: join(home(name), 'ca', 'ca.crl'),
        cert_path: join(home(name), 'certs', 'node.crt'),
        key_path: join(home(name), 'certs', 'node.key'),
      },
      ...options.config?.(name),
    }),
  });
  for (const name of options.names) if (!options.withKey(name)) rmSync(join(home(name), 'ca', 'ca.key'));
  const log = (node: LocalNode) =>
    readFileSync(join(node.folder, 'hybrid.log'), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as LogLine);
  return {
    ...network,
    home,
    log,
    logged: (node, what, count, holds) =>
      eventually(`${what} at ${node.name}`, NOTICE_MS, async () => {
        const lines = log(node).filter(holds);
        return lines.length >= count ? lines : undefined;
      }),
    stop: async () => {
      await network.stop();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** Runs a command of the command line; what it prints. Rejects where its status is not 0. */
export async function keyweave(...args: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args]);
  return stdout;
}

/** Replaces a file in one step, as an operator's tools do. */
export function replaceFile(path: string, content: string): void {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}
