/**
 * Does the simulation find faults? Plants each of a list, one at a time, and
 * looks whether the world that its seed stands for shows it, else any of the
 * next two minutes: every change of a gateway changes what happens in a world
 * (`make simulate-self-test`; `--find` looks for seeds anew).
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { FAULT_VARIABLE } from '../mutants/plant.ts';
import { PLANTED_FAULTS, type PlantedFault } from './planted-faults.ts';

const PLANT = new URL('../mutants/plant.ts', import.meta.url).href;
const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));
const ROOT = new URL('../../', import.meta.url);

/** What the simulation said about a fault; undefined where it found nothing. */
export async function found(fault: PlantedFault, args: readonly string[]): Promise<string | undefined> {
  const url = new URL(fault.file, ROOT);
  const source = readFileSync(url, 'utf8');
  const start = source.indexOf(fault.before);
  if (start < 0 || source.indexOf(fault.before, start + 1) >= 0) {
    throw new Error(`${fault.file} does not hold once what is to be replaced: ${fault.before}`);
  }
  const planted = { url: url.href, start, end: start + fault.before.length, after: fault.after };
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--import', PLANT, MAIN, '--no-shrink', ...args],
    {
      env: { ...process.env, [FAULT_VARIABLE]: JSON.stringify(planted) },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  if (code === 0) return undefined;
  if (code !== 1 || !/^seed \d+: /.test(said)) throw new Error(`the simulation ended with ${code}: ${said}`);
  return said;
}

if (import.meta.main) {
  const isFinding = process.argv.includes('--find');
  let missed = 0;
  for (const fault of PLANTED_FAULTS) {
    const kept = isFinding ? undefined : await found(fault, ['--seed', `${fault.seed}`, '--runs', '1']);
    const said = kept ?? (await found(fault, ['--seed', '1', '--seconds', '120']));
    if (said === undefined) missed += 1;
    const [first = '', second = ''] = said?.split('\n') ?? [];
    console.log(
      said === undefined ? `MISSED ${fault.what}` : `found  ${fault.what}: ${first.split(':')[0]},${second}`,
    );
  }
  console.log(`${PLANTED_FAULTS.length - missed} of ${PLANTED_FAULTS.length} found`);
  process.exitCode = missed === 0 ? 0 : 1;
}
