import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './command.ts';
import { type Engine, NoEngineError, startEngine } from './engine.ts';
import { ensureBaseImage, removeStandIn } from './stand-in-base.ts';

const HOME = fileURLToPath(new URL('../../', import.meta.url));

/** A name of their own: a network that somebody runs for himself has another. */
const NAMES = { KEYWEAVE_PROJECT: 'keyweave-test', KEYWEAVE_IMAGE: 'keyweave:test' } as const;

/** Compose gives up on an engine that is busy after a minute otherwise. */
const PATIENCE = { COMPOSE_HTTP_TIMEOUT: '600' } as const;

export type Progress = (text: string) => void;

/** Suites that share one network of three nodes in containers. */
export interface ContainerTests {
  /** What its lines of progress begin with. */
  readonly name: string;
  /** Files from here, run in this order: each leaves the network as it found it, but the last. */
  readonly suites: readonly string[];
  /** The command that starts the nodes. */
  readonly up: readonly [program: string, ...args: string[]];
  /** Added to the environment of that command and of the suites. */
  readonly env?: Readonly<Record<string, string>>;
  /** Makes images that the nodes' neighbours need; what it gives removes them. */
  prepare?(engine: Engine, progress: Progress): Promise<() => Promise<void>>;
}

let interrupted = false;

/** An addon that was built beforehand is taken along; the tests do without where there is none. */
function nativeArgument(): 'prebuilt' | 'skip' {
  return globSync(join(HOME, 'services/pqc-source/native/*.node')).length > 0 ? 'prebuilt' : 'skip';
}

async function testIn(engine: Engine, tests: ContainerTests, progress: Progress): Promise<number> {
  const env = { ...engine.env, ...NAMES, ...PATIENCE, KEYWEAVE_NATIVE: nativeArgument(), ...tests.env };
  const make = (target: string) => run('make', ['--no-print-directory', target], { cwd: HOME, env });
  let removePrepared = async () => {};
  try {
    progress(await ensureBaseImage(engine));
    const started = performance.now();
    await make('images');
    progress(`the image was built in ${seconds(started)} s, native engine: ${env.KEYWEAVE_NATIVE}`);
    if (tests.prepare) removePrepared = await tests.prepare(engine, progress);
    const upStarted = performance.now();
    const [program, ...args] = tests.up;
    await run(program, args, { cwd: HOME, env });
    progress(`three nodes were up after ${seconds(upStarted)} s`);
    return await runSuites(tests.suites, env, progress);
  } finally {
    await make('down').catch((error: Error) => progress(error.message));
    await removePrepared();
    await engine.attempt(['image', 'rm', '--force', NAMES.KEYWEAVE_IMAGE]);
    await removeStandIn(engine);
  }
}

/** One after the other, since the test runner would take them in an order of its own. */
async function runSuites(
  suites: readonly string[],
  env: Record<string, string>,
  progress: Progress,
): Promise<number> {
  const failed: string[] = [];
  for (const suite of suites) {
    const started = performance.now();
    const code = await runSuite(suite, env);
    progress(`${suite}: ${code === 0 ? 'passed' : 'FAILED'} after ${seconds(started)} s`);
    if (code !== 0) failed.push(suite);
    if (interrupted) throw new Error('interrupted');
  }
  return failed.length === 0 ? 0 : 1;
}

function runSuite(suite: string, env: Record<string, string>): Promise<number> {
  const file = fileURLToPath(new URL(`${suite}.test.ts`, import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--test', file], {
      cwd: HOME,
      env: { ...process.env, ...env },
      stdio: 'inherit',
    });
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1000).toFixed(0);
}

/**
 * Runs suites in an engine, which is stopped whatever happens; an interrupt
 * ends the suites, and with them the run. Gives the exit code: 0 where no engine
 * can be had, too, which it says.
 */
export async function runInEngine(tests: ContainerTests): Promise<number> {
  const progress = (text: string) => process.stderr.write(`${tests.name}: ${text}\n`);
  process.on('SIGINT', () => {
    interrupted = true;
    progress('interrupted; removing what was made');
  });
  const started = performance.now();
  let engine: Engine;
  try {
    engine = await startEngine();
  } catch (error) {
    if (!(error instanceof NoEngineError)) throw error;
    progress(`SKIPPED: ${error.message}`);
    return 0;
  }
  try {
    progress(`${engine.description} answers`);
    return await testIn(engine, tests, progress);
  } finally {
    await engine.stop();
    progress(`done after ${seconds(started)} s`);
  }
}
