import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { printTable } from '../../services/cli/table.ts';
import { type LocalNetwork, type LocalNode, startLocalNetwork } from '../helpers/network.ts';
import { comparable, LoadClient } from './load-client.ts';
import { cpuMs, median, percentiles, rssMb } from './measure.ts';

const { values: options } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    streams: { type: 'string', default: '1,8,64,1000' },
    sources: { type: 'string', default: 'ML-KEM-768,QKD' },
    method: { type: 'string', default: 'xoring' },
    out: { type: 'string', default: '.cache/bench/latest.json' },
    compare: { type: 'string' },
  },
});
const RUNS = Number(options.runs);
const EVENT_LOOP_FILE = resolve('.cache/bench/event-loop.jsonl');
const RUN_MS = Number(options.seconds) * 1000;

interface Stream {
  readonly a: LoadClient;
  readonly b: LoadClient;
  readonly get: string;
  readonly close: string;
}

interface Result {
  streams: number;
  keysPerSecond: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
  maxMs: number;
  cpuMsPerKey: number;
  cpuMsPerKeyBy: Record<string, number>;
}

let opened = 0;

async function openStream(network: LocalNetwork, latencies: number[]): Promise<Stream> {
  const [alice, bob] = network.nodes as [LocalNode, LocalNode];
  const [a, b] = await Promise.all([LoadClient.connect(alice.json), LoadClient.connect(bob.json)]);
  const query = `hybridization=${options.method}&key_sources=${options.sources}`;
  const app = `bench-${opened++}`;
  const request = JSON.stringify({
    command: 'OPEN_CONNECT',
    data: {
      source: `hybrid://${app}@${alice.uuid}?${query}`,
      destination: `hybrid://${app}@${bob.uuid}?${query}`,
      qos: {
        key_chunk_size: 32,
        max_bps: 0,
        min_bps: 0,
        jitter: 0,
        priority: 0,
        timeout: 30_000,
        ttl: 0,
        metadata_mimetype: 'application/json',
      },
    },
  });
  const started = performance.now();
  const [answer] = await Promise.all([a.request(request), b.request(request)]);
  latencies.push(performance.now() - started);
  const { status, key_stream_id, message } = JSON.parse(answer) as {
    status: number;
    key_stream_id: string;
    message?: string;
  };
  if (status !== 0) throw new Error(`OPEN_CONNECT: status ${status} ${message}`);
  const data = { key_stream_id };
  return {
    a,
    b,
    get: JSON.stringify({ command: 'GET_KEY', data: { ...data, index: 0 } }),
    close: JSON.stringify({ command: 'CLOSE', data }),
  };
}

/** One key at both ends, compared; milliseconds until both have answered. */
async function fetchBoth(stream: Stream): Promise<number> {
  const started = performance.now();
  const [a, b] = await Promise.all([stream.a.request(stream.get), stream.b.request(stream.get)]);
  const elapsed = performance.now() - started;
  if (!a.startsWith('{"status":0') || comparable(a) !== comparable(b))
    throw new Error('the two ends were not given the same key');
  return elapsed;
}

/** Each stream fetches as fast as it can; with a thousand, eight at a time go round all of them. */
async function load(streams: readonly Stream[], ms: number): Promise<number[]> {
  const latencies: number[] = [];
  const end = performance.now() + ms;
  const busy = new Set<Stream>();
  let turn = 0;
  const workers = streams.length > 64 ? 8 : streams.length;
  const work = async (worker: number) => {
    while (performance.now() < end) {
      let stream = streams[worker] as Stream;
      // Round and round; one that is still being asked is passed over.
      if (streams.length > 64)
        do stream = streams[turn++ % streams.length] as Stream;
        while (busy.has(stream));
      busy.add(stream);
      latencies.push(await fetchBoth(stream));
      busy.delete(stream);
    }
  };
  await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
  return latencies;
}

function cpuByService(network: LocalNetwork): Record<string, number> {
  const by: Record<string, number> = {};
  for (const node of network.nodes) {
    for (const [name, { pid }] of Object.entries(node.services)) by[name] = (by[name] ?? 0) + cpuMs(pid);
  }
  return by;
}

async function measure(network: LocalNetwork, streams: readonly Stream[]): Promise<Result> {
  await load(streams, streams.length > 64 ? RUN_MS : 1000);
  const before = cpuByService(network);
  const started = performance.now();
  const latencies = await load(streams, RUN_MS);
  const seconds = (performance.now() - started) / 1000;
  const used = cpuByService(network);
  const by = Object.fromEntries(
    Object.entries(used).map(([name, ms]) => [name, (ms - (before[name] ?? 0)) / latencies.length]),
  );
  const { p50, p95, p99, max } = percentiles(latencies);
  return {
    streams: streams.length,
    keysPerSecond: latencies.length / seconds,
    p50Ms: p50,
    p95Ms: p95,
    p99Ms: p99,
    maxMs: max,
    cpuMsPerKey: Object.values(by).reduce((sum, ms) => sum + ms, 0),
    cpuMsPerKeyBy: by,
  };
}

/** The medians of several runs of the same measurement. */
function medians(results: readonly Result[]): Result {
  const of = (pick: (result: Result) => number) => median(results.map(pick));
  const [first] = results as [Result];
  return {
    streams: first.streams,
    keysPerSecond: of((r) => r.keysPerSecond),
    p50Ms: of((r) => r.p50Ms),
    p95Ms: of((r) => r.p95Ms),
    p99Ms: of((r) => r.p99Ms),
    maxMs: of((r) => r.maxMs),
    cpuMsPerKey: of((r) => r.cpuMsPerKey),
    cpuMsPerKeyBy: Object.fromEntries(
      Object.keys(first.cpuMsPerKeyBy).map((name) => [name, of((r) => r.cpuMsPerKeyBy[name] ?? 0)]),
    ),
  };
}

function memoryMb(network: LocalNetwork): number {
  return network.nodes
    .flatMap((node) => Object.values(node.services))
    .reduce((sum, { pid }) => sum + rssMb(pid), 0);
}

/** How late the event loops ran, by service, the worse of both nodes; known once the nodes have stopped. */
function eventLoopDelays(): Record<string, { p99Ms: number; maxMs: number }> {
  const by: Record<string, { p99Ms: number; maxMs: number }> = {};
  for (const line of readFileSync(EVENT_LOOP_FILE, 'utf8').trim().split('\n')) {
    const { service, p99Ms, maxMs } = JSON.parse(line) as { service: string; p99Ms: number; maxMs: number };
    const worst = by[service] ?? { p99Ms: 0, maxMs: 0 };
    by[service] = { p99Ms: Math.max(worst.p99Ms, p99Ms), maxMs: Math.max(worst.maxMs, maxMs) };
  }
  return by;
}

mkdirSync('.cache/bench', { recursive: true });
rmSync(EVENT_LOOP_FILE, { force: true });
process.env.KEYWEAVE_EVENT_LOOP = EVENT_LOOP_FILE;
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --import=${new URL('./event-loop-probe.ts', import.meta.url)}`;
const network = await startLocalNetwork({
  names: ['Alice', 'Bob'],
  config: () => ({ logging_config: { console_log_type: 'error' } }),
});
try {
  const results: Result[] = [];
  const openMs: number[] = [];
  const idleMb = memoryMb(network);
  let kbPerIdleStream: number | undefined;
  for (const count of options.streams.split(',').map(Number)) {
    const streams: Stream[] = [];
    const beforeMb = memoryMb(network);
    for (let i = 0; i < count; i++) streams.push(await openStream(network, openMs));
    if (count >= 1000) kbPerIdleStream = ((memoryMb(network) - beforeMb) * 1024) / count / 2;
    const runs: Result[] = [];
    for (let run = 0; run < RUNS; run++) {
      process.stderr.write(`bench: ${count} streams, run ${run + 1} of ${RUNS}\n`);
      runs.push(await measure(network, streams));
    }
    results.push(medians(runs));
    for (const { a, b, close } of streams) {
      await Promise.all([a.request(close), b.request(close)]);
      a.close();
      b.close();
    }
  }
  const report = {
    machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version },
    method: options.method,
    sources: options.sources,
    runs: RUNS,
    openConnectMs: percentiles(openMs),
    idleMb,
    kbPerIdleStream,
    eventLoop: {} as ReturnType<typeof eventLoopDelays>,
    results,
  };
  await network.stop();
  report.eventLoop = eventLoopDelays();
  printReport(report);
  writeFileSync(options.out, JSON.stringify(report, undefined, 2));
  if (options.compare)
    printComparison(report, JSON.parse(readFileSync(options.compare, 'utf8')) as typeof report);
} finally {
  await network.stop();
}

function printReport(report: {
  results: readonly Result[];
  openConnectMs: ReturnType<typeof percentiles>;
  machine: { cpu: string; cores: number; node: string };
  idleMb: number;
  kbPerIdleStream: number | undefined;
  eventLoop: ReturnType<typeof eventLoopDelays>;
}): void {
  const { machine, openConnectMs: open } = report;
  process.stdout.write(
    `${machine.cores} x ${machine.cpu}, Node ${machine.node}; ${options.sources} by ${options.method}, 32 bytes, medians of ${RUNS} runs\n\n`,
  );
  const services = Object.keys(report.results[0]?.cpuMsPerKeyBy ?? {});
  printTable(
    ['streams', 'keys/s', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms', 'CPU ms/key', ...services],
    report.results.map((r) => [
      r.streams,
      Math.round(r.keysPerSecond),
      r.p50Ms.toFixed(3),
      r.p95Ms.toFixed(3),
      r.p99Ms.toFixed(3),
      r.maxMs.toFixed(1),
      r.cpuMsPerKey.toFixed(3),
      ...services.map((name) => (r.cpuMsPerKeyBy[name] ?? 0).toFixed(3)),
    ]),
  );
  process.stdout.write(
    `\nOPEN_CONNECT at both ends: p50 ${open.p50.toFixed(1)} ms, p95 ${open.p95.toFixed(1)} ms; ten idle processes ${Math.round(report.idleMb)} MB\n`,
  );
  if (report.kbPerIdleStream !== undefined) {
    process.stdout.write(
      `An open idle stream takes ${report.kbPerIdleStream.toFixed(1)} kB of a node's five processes\n`,
    );
  }
  process.stdout.write('\nEvent loops, how late over the whole run (the worse of both nodes):\n');
  printTable(
    ['service', 'p99 ms', 'max ms'],
    Object.entries(report.eventLoop).map(([name, { p99Ms, maxMs }]) => [
      name,
      p99Ms.toFixed(1),
      maxMs.toFixed(1),
    ]),
  );
}

function printComparison(now: { results: readonly Result[] }, then: { results: readonly Result[] }): void {
  process.stdout.write('\nRatios to the earlier run (below 1 is better, but for keys/s):\n');
  const rows = now.results.flatMap((result) => {
    const old = then.results.find((other) => other.streams === result.streams);
    if (!old) return [];
    return [
      [
        result.streams,
        (result.keysPerSecond / old.keysPerSecond).toFixed(2),
        (result.p50Ms / old.p50Ms).toFixed(2),
        (result.cpuMsPerKey / old.cpuMsPerKey).toFixed(2),
      ],
    ];
  });
  printTable(['streams', 'keys/s', 'p50', 'CPU/key'], rows);
}
