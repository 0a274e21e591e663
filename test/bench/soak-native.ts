/**
 * The addon under load, with garbage in between: memory and delay of the event
 * loop. Ends with status 1 where memory grows or the loop is held up.
 *
 * node --expose-gc test/bench/soak-native.ts [--minutes N]
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { KEM_ALGORITHMS, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { equalBytes, wipe } from '#common/crypto/bytes.ts';
import { createLiboqsNativeEngine, loadLiboqsNode } from '../../services/pqc-source/engines/liboqs-native.ts';
import { rssMb } from '../helpers/proc.ts';

const MOST_DELAY_MS = 5;
/** What the second half may hold more than the first; garbage collection leaves this much to chance. */
const MOST_GROWTH = 1.05;

const { values: options } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } });
const durationMs = Number(options.minutes) * 60_000;
const addon = loadLiboqsNode();
const engine = createLiboqsNativeEngine(addon);
const end = performance.now() + durationMs;
let operations = 0;
let refused = 0;

const BATCH: Readonly<Record<KemAlgorithm['cost'], number>> = { light: 32, medium: 8, heavy: 1 };

async function exchange(row: KemAlgorithm): Promise<void> {
  const count = BATCH[row.cost];
  const { publicKeys, privateKeys } = await engine.generateKeyPairs(row, count);
  const { ciphertexts, sharedSecrets } = await engine.encapsulate(row, publicKeys);
  const opened = await engine.decapsulate(row, privateKeys, ciphertexts);
  if (!equalBytes(opened, sharedSecrets)) throw new Error(`${row.name} disagrees`);
  privateKeys.wipe();
  wipe(opened, sharedSecrets);
  operations += 3 * count;
}

async function garbage(row: KemAlgorithm): Promise<void> {
  const attempts = [
    () => addon.encapsulate(row.name, Buffer.alloc(row.publicKeyBytes + 1), 'light'),
    () => addon.encapsulate(row.name, Buffer.alloc(row.publicKeyBytes, 0xff), 'light'),
    () => addon.decapsulate(row.name, Buffer.alloc(1), Buffer.alloc(1), 'light'),
    () => addon.generateKeyPairs(row.name, Number.NaN, 'light'),
    () => addon.generateKeyPairs('no such KEM', 1, 'light'),
  ];
  for (const attempt of attempts) {
    try {
      await attempt();
    } catch {
      refused += 1;
    }
  }
}

/** Two callers an algorithm class, as several streams would be. */
async function load(rows: readonly KemAlgorithm[]): Promise<void> {
  for (let i = 0; performance.now() < end; i++) {
    const row = rows[i % rows.length] as KemAlgorithm;
    await exchange(row);
    if (i % 16 === 0) await garbage(row);
  }
}

const of = (cost: KemAlgorithm['cost']) => KEM_ALGORITHMS.filter((row) => row.cost === cost);
const delay = monitorEventLoopDelay({ resolution: 1 });
const samples: { s: number; rss: number }[] = [];
const loads = [of('light'), of('light'), of('medium'), of('medium'), of('heavy')].map(load);
await sleep(Math.min(10_000, durationMs / 10));
delay.enable();
const every = Math.min(10_000, durationMs / 20);
while (performance.now() < end - every) {
  await sleep(every);
  global.gc?.();
  samples.push({ s: Math.round(performance.now() / 1000), rss: Math.round(rssMb(process.pid)) });
}
await Promise.all(loads);
delay.disable();

const half = Math.floor(samples.length / 2);
const mean = (some: typeof samples) => some.reduce((sum, { rss }) => sum + rss, 0) / some.length;
const growth = mean(samples.slice(half)) / mean(samples.slice(0, half));
const p99Ms = delay.percentile(99) / 1e6 - 1;
process.stdout.write(`RSS in MB by second: ${samples.map(({ s, rss }) => `${s}:${rss}`).join(' ')}\n`);
process.stdout.write(
  `${operations} operations, ${refused} refusals; second half of the run over the first: ${growth.toFixed(3)}; ` +
    `event loop delay p50 ${(delay.percentile(50) / 1e6 - 1).toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, ` +
    `most ${(delay.max / 1e6).toFixed(1)} ms\n`,
);
if (growth > MOST_GROWTH || p99Ms > MOST_DELAY_MS || refused === 0) process.exitCode = 1;
