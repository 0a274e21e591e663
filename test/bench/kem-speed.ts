/**
 * KEM operations of every engine, in batches as services call them, against
 * liboqs called in a loop of its own in the same run. Ends with status 1 where
 * the native engine takes over 1.3 times liboqs's time.
 *
 * node test/bench/kem-speed.ts [--only NAME,…] [--budget MS] [--rounds N] [--markdown]
 */
import { parseArgs } from 'node:util';
import { KEM_ALGORITHMS, type KemAlgorithm, type KemEngineName } from '#common/catalogue/kems.ts';
import { printTable } from '../../services/cli/table.ts';
import { laneOf, loadLiboqsNode } from '../../services/pqc-source/engines/liboqs-native.ts';
import { type KemSpeed, measureKem, SPEED_BATCH } from '../../services/pqc-source/engines/measure-kem.ts';
import { available, nativeMissing } from '../helpers/engines.ts';

const MOST = 1.3;
const LARGE_BATCH_BYTES = 24 * 1024 * 1024;
const OPERATIONS = ['generate', 'encapsulate', 'decapsulate'] as const;

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    engines: { type: 'string', default: 'liboqs-native,openssl,liboqs-wasm' },
    budget: { type: 'string', default: '40' },
    rounds: { type: 'string', default: '2' },
    markdown: { type: 'boolean', default: false },
  },
});
const budgetMs = Number(options.budget);
const rounds = Number(options.rounds);
const only = options.only?.split(',');
const addon = nativeMissing ? undefined : loadLiboqsNode();

/** Key generation of these repeats until a matrix can be inverted: how long it takes is chance. The f variants do not. */
const isChance = ({ name }: KemAlgorithm) => /^Classic-McEliece-\d+$/.test(name);

function worst(row: KemAlgorithm, speed: KemSpeed, raw: KemSpeed): number {
  const judged = OPERATIONS.filter((one) => one !== 'generate' || !isChance(row));
  return Math.max(...judged.map((one) => speed[one] / raw[one]));
}

const least = (a: KemSpeed, b: KemSpeed): KemSpeed => ({
  generate: Math.min(a.generate, b.generate),
  encapsulate: Math.min(a.encapsulate, b.encapsulate),
  decapsulate: Math.min(a.decapsulate, b.decapsulate),
});
const NEVER: KemSpeed = {
  generate: Number.POSITIVE_INFINITY,
  encapsulate: Number.POSITIVE_INFINITY,
  decapsulate: Number.POSITIVE_INFINITY,
};
const shown = (us: number) => (us < 100 ? us.toFixed(1) : us.toFixed(0));
const cell = (speed: KemSpeed | undefined) =>
  speed ? OPERATIONS.map((one) => shown(speed[one])).join(' / ') : '–';

async function rawSpeed(row: KemAlgorithm, count: number): Promise<KemSpeed> {
  let best = NEVER;
  const end = performance.now() + budgetMs;
  do {
    const speed = await addon?.measure(row.name, count, laneOf(row, 'encapsulate'));
    if (!speed) return NEVER;
    best = least(best, {
      generate: speed.generate / 1000,
      encapsulate: speed.encapsulate / 1000,
      decapsulate: speed.decapsulate / 1000,
    });
  } while (performance.now() < end);
  return best;
}

/** Native batches of Classic McEliece are so large here that the cost of a call is no more to them than to others. */
function batchOf(row: KemAlgorithm, engine: KemEngineName): number {
  if (row.cost !== 'heavy') return SPEED_BATCH[row.cost];
  return engine === 'liboqs-native' ? Math.ceil(LARGE_BATCH_BYTES / row.publicKeyBytes) : 1;
}

const lines: string[][] = [];
const tooSlow: string[] = [];
for (const row of KEM_ALGORITHMS.filter(({ name }) => only?.includes(name) ?? true)) {
  let raw = NEVER;
  const speeds = new Map<string, KemSpeed>();
  for (const engine of available.engines) {
    if (!engine.supports(row) || !options.engines.split(',').includes(engine.name)) continue;
    // Slow engines are measured once: what they are compared with is the reader's patience.
    const times = engine.name === 'liboqs-native' ? rounds : 1;
    for (let round = 0; round < times; round++) {
      const count = batchOf(row, engine.name);
      if (engine.name === 'liboqs-native') raw = least(raw, await rawSpeed(row, count));
      const speed = await measureKem(engine, row, budgetMs, count);
      speeds.set(engine.name, least(speeds.get(engine.name) ?? NEVER, speed));
    }
  }
  const native = speeds.get('liboqs-native');
  const ratio = native ? worst(row, native, raw) : undefined;
  if (ratio !== undefined && ratio > MOST) tooSlow.push(`${row.name}: ${ratio.toFixed(2)}`);
  lines.push([
    row.name,
    native ? cell(raw) : '–',
    cell(native),
    ratio?.toFixed(2) ?? '–',
    cell(speeds.get('openssl')),
    cell(speeds.get('liboqs-wasm')),
  ]);
}
const headings = ['KEM', 'liboqs itself', 'liboqs-native', 'ratio', 'openssl', 'liboqs-wasm'];
if (options.markdown) {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  process.stdout.write(line(headings) + line(headings.map(() => '---')) + lines.map(line).join(''));
} else printTable(headings, lines);
process.stdout.write('\nMicroseconds: key generation / encapsulation / decapsulation.\n');
await Promise.all(available.engines.map((engine) => engine.close()));
if (tooSlow.length > 0) {
  process.stderr.write(`over ${MOST} times liboqs's own time: ${tooSlow.join(', ')}\n`);
  process.exitCode = 1;
}
