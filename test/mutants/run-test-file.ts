import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Outcome = 'passed' | 'failed' | 'timed out';

const REPORTER = fileURLToPath(new URL('./first-failure.ts', import.meta.url));

/** Heap of a process that runs tests, in MiB: a loop that was made endless must not fill the machine. */
const HEAP_MB = 512;
const OUTPUT_LIMIT = 4_000;

/**
 * Runs one test file in a process of its own, up to its first failure. It and
 * what it starts end with it, and its temporary files are removed.
 */
export async function runTestFile(
  root: string,
  test: string,
  options: { limitMs: number; preload?: string; environment?: Record<string, string> },
): Promise<{ outcome: Outcome; output: string }> {
  const temporary = mkdtempSync(join(tmpdir(), 'keyweave-mutants-'));
  const flags = [
    `--max-old-space-size=${HEAP_MB}`,
    ...(options.preload ? [`--import=${options.preload}`] : []),
  ];
  const child = spawn(process.execPath, [`--test-reporter=${REPORTER}`, '--test-force-exit', test], {
    cwd: root,
    // A group of its own, so that it can be ended with all that it has started.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...withoutTestRunner(), NODE_OPTIONS: flags.join(' '), TMPDIR: temporary, ...options.environment },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_LIMIT);
    });
  }
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    endGroup(child.pid);
  }, options.limitMs);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', resolve);
    });
    const outcome = timedOut ? 'timed out' : code === 0 ? 'passed' : 'failed';
    return { outcome, output };
  } finally {
    clearTimeout(timer);
    endGroup(child.pid);
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** The runner's own tests run under a test runner, whose word to its children is not meant for ours. */
function withoutTestRunner(): NodeJS.ProcessEnv {
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  return environment;
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}
