import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../services/cli/main.ts', import.meta.url));

/** A command that does not end is killed by then. */
const LIMIT_MS = 60_000;

export interface CommandOutcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** From its start to its end. */
  readonly ms: number;
}

export interface Command {
  readonly process: ChildProcess;
  /** The first line of its stdout; rejects where it ends without one. */
  readonly firstLine: Promise<string>;
  /** What it has said on stderr so far. */
  stderr(): string;
  /** Resolves when it has ended and all that it said has been read. */
  readonly outcome: Promise<CommandOutcome>;
}

export interface CommandOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Another user than the one who runs the tests, which only root may ask for. */
  uid?: number;
}

/** Starts `keyweave` with arguments, as a person in a terminal would. */
export function startCommand(args: readonly string[], options: CommandOptions = {}): Command {
  const started = performance.now();
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
    env: { ...process.env, ...options.env },
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
    });
  }
  const firstLine = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('close', () => reject(new Error(`ended without a line: ${texts.stderr}`)));
  });
  firstLine.catch(() => undefined);
  const outcome = new Promise<CommandOutcome>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve({ code, signal, ...texts, ms: performance.now() - started }),
    );
  });
  return { process: child, firstLine, stderr: () => texts.stderr, outcome };
}

/** Runs `keyweave` with arguments to its end. */
export function runCommand(args: readonly string[], options: CommandOptions = {}): Promise<CommandOutcome> {
  return startCommand(args, options).outcome;
}
