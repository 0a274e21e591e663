import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './command.ts';
import { type Engine, NoEngineError, startEngine } from './engine.ts';
import { ensureBaseImage, removeStandIn } from './stand-in-base.ts';

const HOME = fileURLToPath(new URL('../../', import.meta.url));

/** In this order, in one network: each leaves it as it found it, but the last. */
const SUITES = ['image', 'network', 'faults', 'rolling-restart', 'replicas', 'down'] as const;

/** A name of their own: a network that somebody runs for himself has another. */
const NAMES = { KEYWEAVE_PROJECT: 'keyweave-test', KEYWEAVE_IMAGE: 'keyweave:test' } as const;

let interrupted = false;

function progress(text: string): void {
  process.stderr.write(`containers: ${text}\n`);
}

/** An addon that was built beforehand is taken along; the tests do without where there is none. */
function nativeArgument(): 'prebuilt' | 'skip' {
  return globSync(join(HOME, 'services/pqc-source/native/*.node')).length > 0 ? 'prebuilt' : 'skip';
}

async function testIn(engine: Engine): Promise<number> {
  const env = { ...engine.env, ...NAMES, KEYWEAVE_NATIVE: nativeArgument() };
  const make = (target: string) => run('make', ['--no-print-directory', target], { cwd: HOME, env });
  try {
    progress(await ensureBaseImage(engine));
    const started = performance.now();
    await make('images');
    progress(`the image was built in ${seconds(started)} s, native engine: ${env.KEYWEAVE_NATIVE}`);
    const upStarted = performance.now();
    await make('up');
    progress(`three nodes were up after ${seconds(upStarted)} s`);
    return await runSuites(env);
  } finally {
    await make('down').catch((error: Error) => progress(error.message));
    await engine.attempt(['image', 'rm', '--force', NAMES.KEYWEAVE_IMAGE]);
    await removeStandIn(engine);
  }
}

/** One after the other, since the test runner would take them in an order of its own. */
async function runSuites(env: Record<string, string>): Promise<number> {
  const only = process.argv.slice(2);
  const failed: string[] = [];
  for (const suite of SUITES.filter((name) => only.length === 0 || only.includes(name))) {
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

/** The engine is stopped whatever happens; an interrupt ends the suites, and with them the run. */
async function main(): Promise<number> {
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
    return await testIn(engine);
  } finally {
    await engine.stop();
    progress(`done after ${seconds(started)} s`);
  }
}

process.exitCode = await main();
