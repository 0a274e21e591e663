/**
 * Streams of slow KEMs through two whole nodes: how long GET_KEY takes at a
 * pace that the pool can keep, how many keys a second come when nobody pauses,
 * and what that does to an ML-KEM-768 stream beside it.
 *
 * node test/bench/slow-kems.ts [--kems NAME,…] [--seconds N]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { findKemAlgorithm, KEM_ENGINE_NAMES, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { createEngines } from '../../services/pqc-source/engines/built-in-engines.ts';
import { measureKem } from '../../services/pqc-source/engines/measure-kem.ts';
import {
  keyOf,
  type LocalNetwork,
  type LocalNode,
  openData,
  openPair,
  type Pair,
  startLocalNetwork,
} from '../helpers/network.ts';
import { percentiles } from './figures.ts';

const { values: options } = parseArgs({
  options: {
    kems: { type: 'string', default: 'Classic-McEliece-348864,Classic-McEliece-8192128' },
    seconds: { type: 'string', default: '8' },
  },
});
const runMs = Number(options.seconds) * 1000;

/** Calls at both ends at once; milliseconds of the slower one. */
async function getBoth(pair: Pair): Promise<number> {
  const started = performance.now();
  const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
  const ms = performance.now() - started;
  if (!keyOf(a).equals(keyOf(b))) throw new Error('the two ends have different keys');
  return ms;
}

async function repeat(pair: Pair, ms: number, pauseMs = 0): Promise<number[]> {
  const samples: number[] = [];
  const end = performance.now() + ms;
  while (performance.now() < end) {
    samples.push(await getBoth(pair));
    if (pauseMs > 0) await sleep(pauseMs);
  }
  return samples;
}

async function openStream(network: LocalNetwork, sources: string): Promise<Pair> {
  const [alice, bob] = network.nodes as [LocalNode, LocalNode];
  const query = `hybridization=hkdf-sha384&key_sources=${sources}`;
  const pair = await openPair(network, openData(alice, bob, query, { timeout: 60_000 }));
  await getBoth(pair);
  return pair;
}

async function generationMs(algorithm: KemAlgorithm): Promise<number> {
  const { engines } = createEngines(KEM_ENGINE_NAMES);
  const engine = algorithm.engines
    .map((name) => engines.find((one) => one.name === name))
    .find((one) => one?.supports(algorithm));
  if (!engine) throw new Error(`no engine has ${algorithm.name}`);
  // One thread, a few pairs: the mean of what is random for some parameter sets.
  const speed = await measureKem(engine, algorithm, 0, 24);
  await engine.close();
  return speed.generate / 1000;
}

const shown = (samples: readonly number[]) => {
  const { p50, p99 } = percentiles(samples);
  return `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(1)} ms (${samples.length} keys)`;
};

for (const name of (options.kems ?? '').split(',')) {
  const algorithm = findKemAlgorithm(name);
  if (!algorithm) throw new Error(`unknown KEM ${name}`);
  const ownMs = await generationMs(algorithm);
  const network = await startLocalNetwork({ names: ['Alice', 'Bob'] });
  try {
    const slow = await openStream(network, `${algorithm.name},QKD`);
    await repeat(slow, runMs / 2, 3 * ownMs);
    const warm = await repeat(slow, runMs, 3 * ownMs);
    const started = performance.now();
    const hammered = await repeat(slow, runMs);
    const perSecond = (hammered.length * 1000) / (performance.now() - started);
    const quick = await openStream(network, 'ML-KEM-768,QKD');
    await repeat(quick, runMs / 4);
    const alone = await repeat(quick, runMs / 2);
    const [beside, during] = await Promise.all([repeat(quick, runMs), repeat(slow, runMs)]);
    process.stdout.write(
      [
        `${algorithm.name}: one key generation takes ${ownMs.toFixed(1)} ms, ${(1000 / ownMs).toFixed(1)}/s`,
        `  GET_KEY when warm, one every ${(3 * ownMs).toFixed(0)} ms: ${shown(warm)}`,
        `  without a pause: ${perSecond.toFixed(1)} keys/s, ${(1000 / ownMs / perSecond).toFixed(2)} times one thread's own time; ${shown(hammered)}`,
        `  ML-KEM-768 alone: ${shown(alone)}`,
        `  ML-KEM-768 beside it: ${shown(beside)}, ${(percentiles(beside).p50 / percentiles(alone).p50).toFixed(2)} times; ${algorithm.name} meanwhile ${((during.length * 1000) / runMs).toFixed(1)} keys/s`,
        '',
      ].join('\n'),
    );
    await Promise.all([slow.close(), quick.close()]);
  } finally {
    await network.stop();
  }
}
