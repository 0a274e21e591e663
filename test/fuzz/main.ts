import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';

/** What each decoder is given where FUZZ_SECONDS does not say. */
const SECONDS = 300;

/** What a run takes beside its seconds at most, seconds: start and end, and where one waits for what it left to settle. */
const MORE_SECONDS = 300;

/** Whole nodes whose stalls are measured: nothing else runs beside them. */
const ALONE = 'conversations';

/** Output of a run that failed, from its end, characters. */
const SHOWN = 8_000;

/**
 * `make fuzz`: each decoder for its seconds, as many side by side as there are
 * cores, then the conversations. One that ends with an error, or not in time,
 * is shown with the seed that has it again.
 */
async function main(names: readonly string[]): Promise<void> {
  const all = globSync(`${import.meta.dirname}/*.test.ts`).toSorted();
  const nameOf = (file: string) => basename(file, '.test.ts');
  const unknown = names.filter((name) => !all.some((file) => nameOf(file) === name));
  if (unknown.length > 0)
    throw new Error(`no such decoder: ${unknown.join(', ')}; there are ${all.map(nameOf).join(', ')}`);
  const chosen = all.filter((file) => names.length === 0 || names.includes(nameOf(file)));
  const seconds = Number(process.env.FUZZ_SECONDS || SECONDS);
  if (!(seconds > 0)) throw new Error(`FUZZ_SECONDS must be seconds, not ${process.env.FUZZ_SECONDS}`);
  const failed: string[] = [];

  async function tryOut(file: string): Promise<void> {
    const seed = process.env.FUZZ_SEED || `${randomInt(2 ** 31)}`;
    const { fault, output, tookS } = await run(file, seconds, seed);
    const figures = output.match(/^\d+ inputs, .*$/m)?.[0] ?? output.match(/\d+ conversations/)?.[0] ?? '';
    process.stdout.write(`${fault ?? 'ok'}  ${nameOf(file)}  ${tookS} s  ${figures}\n`);
    if (fault === undefined) return;
    failed.push(nameOf(file));
    process.stdout.write(
      `${output.slice(-SHOWN)}\nagain: FUZZ_SEED=${seed} FUZZ_SECONDS=${seconds} make fuzz ARGS=${nameOf(file)}\n`,
    );
  }

  const waiting = chosen.filter((file) => nameOf(file) !== ALONE);
  const lane = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await tryOut(file);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, lane));
  for (const file of chosen.filter((each) => nameOf(each) === ALONE)) await tryOut(file);
  process.exitCode = failed.length === 0 ? 0 : 1;
  process.stdout.write(failed.length === 0 ? 'no fault was found\n' : `faults: ${failed.join(', ')}\n`);
}

/** Runs one test file; `fault` says in a word what is wrong with it. */
async function run(file: string, seconds: number, seed: string) {
  const startedMs = performance.now();
  const child = spawn(process.execPath, ['--test-reporter=spec', file], {
    env: { ...process.env, FUZZ_SECONDS: `${seconds}`, FUZZ_SEED: seed },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  // The end says what went wrong, the rest may be anything.
  const keep = (text: string) => {
    output = `${output}${text}`.slice(-4 * SHOWN);
  };
  child.stdout.setEncoding('utf8').on('data', keep);
  child.stderr.setEncoding('utf8').on('data', keep);
  let late = false;
  const limit = setTimeout(
    () => {
      late = true;
      child.kill('SIGKILL');
    },
    (seconds + MORE_SECONDS) * 1_000,
  );
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  clearTimeout(limit);
  const fault = late ? 'HANGS' : code === 0 ? undefined : 'FAILED';
  return { fault, output, tookS: Math.round((performance.now() - startedMs) / 1_000) };
}

await main(process.argv.slice(2));
