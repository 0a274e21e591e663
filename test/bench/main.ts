import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { freePorts } from '../../services/cli/free-ports.ts';
import { startCollector } from '../helpers/collector.ts';
import { startLocalNetwork } from '../helpers/network.ts';
import type { BenchCase, BenchOptions } from './cases/case.ts';
import { doors } from './cases/doors.ts';
import { firstKey } from './cases/first-key.ts';
import { floor } from './cases/floor.ts';
import { memory } from './cases/memory.ts';
import { openLoop, slowStreams } from './cases/open-loop.ts';
import { throughput } from './cases/throughput.ts';
import { PACERS, type PacerKind } from './client/pacer.ts';
import { type FigureTable, medianTables, printFigures } from './figures.ts';
import { Probes } from './probe/probes.ts';

const CASES = {
  memory,
  throughput,
  'open-loop': openLoop,
  'slow-streams': slowStreams,
  'first-key': firstKey,
  floor,
  doors,
} as const satisfies Record<string, BenchCase>;
type CaseName = keyof typeof CASES;

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: Object.keys(CASES).join(',') },
    runs: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '10' },
    'warm-up': { type: 'string', default: '10' },
    minutes: { type: 'string', default: '1' },
    rest: { type: 'string', default: '60' },
    streams: { type: 'string', default: '1,8,64,1000' },
    rates: { type: 'string', default: '50,400,2000' },
    'open-loop-streams': { type: 'string', default: '8' },
    'slow-streams': { type: 'string', default: '1000' },
    'fresh-streams': { type: 'string', default: '200' },
    'door-streams': { type: 'string', default: '1,8' },
    doors: { type: 'string', default: '' },
    pacer: { type: 'string', default: PACERS[0] },
    sources: { type: 'string', default: 'ML-KEM-768,QKD' },
    method: { type: 'string', default: 'xoring' },
    out: { type: 'string', default: '.cache/bench/latest.json' },
    compare: { type: 'string' },
    telemetry: { type: 'string' },
    profiles: { type: 'string' },
  },
});

const numbers = (list: string) => list.split(',').map(Number);
const oneOf = <T extends string>(option: string, known: readonly T[], value: string): T => {
  const found = known.find((one) => one === value);
  if (found === undefined) throw new Error(`--${option} ${value}: ${known.join(', ')} are known`);
  return found;
};
const names = Object.keys(CASES) as CaseName[];
const wanted = values.cases.split(',').map((name) => oneOf('cases', names, name));
const runs = Number(values.runs);
const options: BenchOptions = {
  sources: values.sources,
  method: values.method,
  measuredMs: Number(values.seconds) * 1000,
  warmUpMs: Number(values['warm-up']) * 1000,
  throughputStreams: numbers(values.streams),
  rates: numbers(values.rates),
  openLoopStreams: Number(values['open-loop-streams']),
  slowStreams: Number(values['slow-streams']),
  freshStreams: Number(values['fresh-streams']),
  doorStreams: numbers(values['door-streams']),
  doors: values.doors,
  loadMs: Number(values.minutes) * 60_000,
  restMs: Number(values.rest) * 1000,
  pacer: oneOf<PacerKind>('pacer', PACERS, values.pacer),
  profiles: values.profiles,
};

interface Checkout {
  readonly name: string;
  /** Laid over each node's config.json. */
  readonly config?: (name: string) => Record<string, unknown>;
  /** Whose services run; undefined = this one's. */
  readonly home: string | undefined;
  readonly results: Map<CaseName, FigureTable[][]>;
}

const start = ({ home, config }: Checkout, { config: ofCase }: Pick<BenchCase, 'config'> = {}) =>
  startLocalNetwork({
    names: ['Alice', 'Bob'],
    config: (name) => ({
      logging_config: { console_log_type: 'error' },
      ...config?.(name),
      ...ofCase?.(options),
    }),
    ...(home === undefined ? {} : { home }),
  });

/** One case over nodes that are started for it, so that none depends on what ran before it. */
async function runCase(name: CaseName, checkout: Checkout, run: number): Promise<void> {
  const { name: side, results } = checkout;
  const probes = new Probes();
  const network = await start(checkout, CASES[name]);
  try {
    await probes.connect(network);
    const progress = (text: string) =>
      process.stderr.write(`bench: ${side}, run ${run + 1} of ${runs}: ${text}\n`);
    const of = results.get(name) ?? [];
    of.push(await CASES[name].run({ network, probes, options, progress }));
    results.set(name, of);
  } finally {
    probes.close();
    await network.stop();
  }
}

/** Metrics that Prometheus and a collector ask for, and traces of so large a share of the requests. */
async function withTelemetry(ratio: number): Promise<Pick<Checkout, 'config'>> {
  const { endpoint } = await startCollector();
  const [alice = 0, bob = 0] = await freePorts('127.0.0.1', 2);
  return {
    config: (name) => ({
      health: { port: name === 'Alice' ? alice : bob },
      telemetry: { traces: { sample_ratio: ratio }, otlp: { endpoint } },
    }),
  };
}

const checkouts: Checkout[] = [
  {
    ...{ name: 'this checkout', home: undefined, results: new Map() },
    ...(values.telemetry !== undefined && (await withTelemetry(Number(values.telemetry)))),
  },
];
if (values.compare !== undefined)
  checkouts.push({ name: 'the other one', home: resolve(values.compare), results: new Map() });

// Services that find no compiled code of theirs hold some 20 MB more each until they are started again.
for (const checkout of checkouts) await (await start(checkout)).stop();

// What is compared takes turns, so that both meet the same machine.
for (let run = 0; run < runs; run++) {
  for (const name of wanted) {
    if (run > 0 && 'isOnce' in CASES[name]) continue;
    for (const checkout of checkouts) await runCase(name, checkout, run);
  }
}

const tablesOf = ({ results }: Checkout) => wanted.flatMap((name) => medianTables(results.get(name) ?? []));
const [own, compared] = checkouts.map(tablesOf) as [FigureTable[], FigureTable[] | undefined];
const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };
process.stdout.write(
  `${machine.cores} x ${machine.cpu}, Node ${machine.node}; ${options.sources} by ${options.method}, 32 bytes, medians of ${runs} runs\n`,
);
printFigures(own, compared);
mkdirSync('.cache/bench', { recursive: true });
writeFileSync(values.out, JSON.stringify({ machine, options, runs, tables: own, compared }, undefined, 2));
// The collector, where there is one, would wait for more.
process.exit(0);
