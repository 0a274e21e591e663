import { spawn } from 'node:child_process';

export interface CommandOptions {
  /** Added to the environment. */
  env?: Record<string, string>;
  cwd?: string;
  input?: string;
  /** Killed after this; ten minutes by default. */
  limitMs?: number;
}

export interface CommandResult {
  /** -1 where a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const DEFAULT_LIMIT_MS = 600_000;

/** Runs a program to its end; its exit code is the caller's to judge. Rejects only when it cannot be started. */
export function attempt(program: string, args: readonly string[], options: CommandOptions = {}) {
  return new Promise<CommandResult>((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      timeout: options.limitMs ?? DEFAULT_LIMIT_MS,
      killSignal: 'SIGKILL',
    });
    let [stdout, stderr] = ['', ''];
    child.stdout?.on('data', (data: Buffer) => {
      stdout += data;
    });
    child.stderr?.on('data', (data: Buffer) => {
      stderr += data;
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? -1, stdout, stderr }));
    child.stdin?.end(options.input);
  });
}

/** Runs a program that must succeed; gives what it printed. @throws Error with its last lines. */
export async function run(program: string, args: readonly string[], options: CommandOptions = {}) {
  const { code, stdout, stderr } = await attempt(program, args, options);
  if (code === 0) return stdout.trim();
  const said = `${stdout}\n${stderr}`.trim().split('\n').slice(-25).join('\n');
  throw new Error(`${program} ${args.join(' ')} ended with ${code}:\n${said}`);
}

/** Whether a program can be run and succeeds. */
export async function succeeds(program: string, args: readonly string[], options: CommandOptions = {}) {
  return (await attempt(program, args, options).catch(() => undefined))?.code === 0;
}
