import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attempt, type CommandOptions, type CommandResult, run, succeeds } from './command.ts';
import { forgetEngineRules, forwardPolicy } from './engine-rules.ts';
import { removeMountsBelow } from './mounts.ts';

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 30_000;
const INSTALL_ATTEMPTS = 3;
/** The engine lets this machine forward packets. */
const FORWARD = '/proc/sys/net/ipv4/ip_forward';

/** Debian's packages that the tests need, each with a file that tells whether it is there. */
const TOOLS = {
  debootstrap: '/usr/sbin/debootstrap',
  iptables: '/usr/sbin/iptables',
  faketime: '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1',
} as const;
const ENGINE = { 'docker.io': '/usr/sbin/dockerd', 'docker-compose': '/usr/bin/docker-compose' } as const;

/** Why no engine can be had; printed when the tests are skipped. */
export class NoEngineError extends Error {}

/** A container engine and the two clients that fit it. */
export interface Engine {
  /** One line for people. */
  readonly description: string;
  /** What `docker`, `docker-compose` and `make` need in their environment to reach this engine. */
  readonly env: Record<string, string>;
  /** Runs a docker command that must succeed. */
  run(args: readonly string[], options?: CommandOptions): Promise<string>;
  attempt(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  succeeds(args: readonly string[], options?: CommandOptions): Promise<boolean>;
  /** Stops an engine that was started here, and removes all that it left on the machine. */
  stop(): Promise<void>;
}

/**
 * The engine that answers here, or one of Debian's packages, installed where
 * needed and started in a folder of its own.
 *
 * @throws NoEngineError where neither is to be had.
 */
export async function startEngine(): Promise<Engine> {
  const answers = await succeeds('docker', ['info'], { limitMs: 20_000 });
  if (process.getuid?.() !== 0) {
    throw new NoEngineError('faults are made inside the containers, which needs root');
  }
  await install({ ...TOOLS, ...(answers ? {} : ENGINE) });
  if (!answers) return startOwnEngine();
  return engineOf({
    description: 'the engine of this machine',
    docker: 'docker',
    env: {},
    stop: async () => {},
  });
}

/** Installs those of Debian's packages whose file is not there. @throws NoEngineError */
export async function install(packages: Readonly<Record<string, string>>): Promise<void> {
  const missing = Object.keys(packages).filter((name) => !existsSync(packages[name] as string));
  if (missing.length === 0) return;
  if (!(await succeeds('apt-get', ['--version']))) {
    throw new NoEngineError(`${missing.join(', ')} cannot be installed without apt-get`);
  }
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  for (let i = 1; ; i++) {
    await attempt('apt-get', ['update', '-q'], { env });
    const { code, stderr } = await attempt(
      'apt-get',
      ['install', '-qy', '--no-install-recommends', ...missing],
      { env },
    );
    if (code === 0) return;
    if (i === INSTALL_ATTEMPTS) {
      throw new NoEngineError(`${missing.join(', ')} cannot be installed: ${stderr.trim().slice(-400)}`);
    }
  }
}

async function startOwnEngine(): Promise<Engine> {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-engine-'));
  const socket = `unix://${join(folder, 'docker.sock')}`;
  const log = openSync(join(folder, 'log'), 'a');
  const hadBridge = existsSync('/sys/class/net/docker0');
  const forwarded = readFileSync(FORWARD, 'utf8');
  const policy = await forwardPolicy();
  const daemon = spawn(
    '/usr/sbin/dockerd',
    [
      `--host=${socket}`,
      `--data-root=${join(folder, 'data')}`,
      `--exec-root=${join(folder, 'exec')}`,
      `--pidfile=${join(folder, 'pid')}`,
      '--log-level=warn',
    ],
    { stdio: ['ignore', log, log] },
  );
  closeSync(log);
  const stop = async () => {
    await end(daemon);
    // What a container that was killed has left.
    await removeMountsBelow(folder);
    rmSync(folder, { recursive: true, force: true });
    await forgetEngineRules(policy);
    if (!hadBridge) await attempt('ip', ['link', 'delete', 'docker0']);
    writeFileSync(FORWARD, forwarded);
  };
  // Debian's client belongs to Debian's engine; another one first on the PATH may lack the builder.
  const env = { DOCKER_HOST: socket, DOCKER_BUILDKIT: '1', PATH: `/usr/bin:${process.env.PATH ?? ''}` };
  const engine = engineOf({
    description: "Debian's engine, started for this run",
    docker: '/usr/bin/docker',
    env,
    stop,
  });
  const limit = Date.now() + START_LIMIT_MS;
  while (!(await engine.succeeds(['info']))) {
    if (daemon.exitCode !== null || Date.now() > limit) {
      const said = readFileSync(join(folder, 'log'), 'utf8').trim().split('\n').slice(-3).join(' | ');
      await stop();
      throw new NoEngineError(`Debian's engine does not start here: ${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return engine;
}

function engineOf(parts: {
  description: string;
  docker: string;
  env: Record<string, string>;
  stop: () => Promise<void>;
}): Engine {
  const { description, docker, env, stop } = parts;
  const withEnv = (options: CommandOptions = {}) => ({ ...options, env: { ...env, ...options.env } });
  return {
    description,
    env,
    run: (args, options) => run(docker, args, withEnv(options)),
    attempt: (args, options) => attempt(docker, args, withEnv(options)),
    succeeds: (args, options) => succeeds(docker, args, withEnv(options)),
    stop,
  };
}

async function end(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return;
  const exited = new Promise<void>((resolve) => daemon.once('exit', () => resolve()));
  daemon.kill('SIGTERM');
  const force = setTimeout(() => daemon.kill('SIGKILL'), STOP_LIMIT_MS);
  await exited;
  clearTimeout(force);
}
