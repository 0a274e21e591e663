import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

const END_LIMIT_MS = 10_000;
const LOOK_MS = 50;

/** Long-running programs, each with its log; their pids are on disk, so that a later run can end what was left. */
export class Processes {
  readonly #folder: string;
  readonly #started = new Map<string, ChildProcess>();

  /** @param folder gets `pids` and `log`. */
  constructor(folder: string) {
    this.#folder = folder;
    for (const name of ['pids', 'log']) mkdirSync(join(folder, name), { recursive: true });
  }

  start(name: string, program: string, args: readonly string[], cwd: string): void {
    const log = openSync(join(this.#folder, 'log', name), 'w');
    // In a group of its own: Ctrl-C is for whoever stops them in order.
    const child = spawn(program, args, { cwd, stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    child.once('error', () => undefined);
    this.#started.set(name, child);
    if (child.pid !== undefined)
      writeFileSync(join(this.#folder, 'pids', name), `${child.pid} ${startOf(child.pid)}`);
  }

  /** The last lines of those that have ended by themselves. */
  get ended(): string[] {
    return [...this.#started]
      .filter(([, child]) => child.exitCode !== null || child.signalCode !== null)
      .map(([name]) => `${name}: ${this.tail(name)}`);
  }

  tail(name: string, lines = 3): string {
    return readFileSync(join(this.#folder, 'log', name), 'utf8')
      .trim()
      .split('\n')
      .slice(-lines)
      .join(' | ');
  }

  /** Ends one of them, by force after a while; those of an earlier run, too. */
  async end(name: string): Promise<void> {
    const file = join(this.#folder, 'pids', name);
    if (!existsSync(file)) return;
    const [pid = 0, start] = readFileSync(file, 'utf8').split(' ').map(Number);
    const lives = () => startOf(pid) === start;
    const kill = (signal: NodeJS.Signals) => {
      try {
        if (lives()) process.kill(pid, signal);
      } catch {
        // It has just ended.
      }
    };
    kill('SIGTERM');
    for (let waited = 0; lives(); waited += LOOK_MS) {
      if (waited >= END_LIMIT_MS) kill('SIGKILL');
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    rmSync(file);
  }

  async endAll(): Promise<void> {
    await Promise.all(readdirSync(join(this.#folder, 'pids')).map((name) => this.end(name)));
  }
}

/** When a process began, in ticks: tells it from another that has got its pid. NaN where there is none, or only what is left of it. */
function startOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return fields[0] === 'Z' ? Number.NaN : Number(fields[19]);
  } catch {
    return Number.NaN;
  }
}
