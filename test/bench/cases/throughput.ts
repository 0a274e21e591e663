import type { LocalNetwork } from '../../helpers/network.ts';
import { cpuMs, rssMb } from '../../helpers/proc.ts';
import {
  assertSameKey,
  type BenchStream,
  closeStream,
  openStream,
  streamKind,
} from '../client/bench-stream.ts';
import { type FigureTable, percentiles } from '../figures.ts';
import type { BenchCase, CaseContext } from './case.ts';
import { processTable } from './process-table.ts';

export const THROUGHPUT_TITLE = 'Throughput: from asking until both ends have the key, ms';

/** With more streams so many fetches at a time go round all of them. */
const FETCHES_AT_A_TIME = 8;
const MOST_AT_ONCE = 64;

/** Streams that fetch one key after the other as fast as they can, at both ends at once. */
export const throughput: BenchCase = {
  async run(context) {
    const { network, options, progress } = context;
    const rows: Record<string, Record<string, number>> = {};
    const tables: FigureTable[] = [];
    const openMs: number[] = [];
    let kbPerIdleStream = Number.NaN;
    for (const count of options.throughputStreams) {
      progress(`throughput, ${count} streams`);
      const streams: BenchStream[] = [];
      const beforeMb = memoryMb(network);
      for (let i = 0; i < count; i++) streams.push(await openStream(streamKind(network, options)));
      openMs.push(...streams.map((stream) => stream.openMs));
      if (count >= 1000) kbPerIdleStream = ((memoryMb(network) - beforeMb) * 1024) / count / 2;
      rows[`${count} streams`] = await measure(context, streams);
      tables.push(await turns(context, streams));
      for (const stream of streams) await closeStream(stream);
    }
    const { p50, p95 } = percentiles(openMs);
    return [
      { title: THROUGHPUT_TITLE, rows },
      {
        title: 'Opening',
        rows: { 'every stream': { 'p50 ms': p50, 'p95 ms': p95, 'kB per idle stream': kbPerIdleStream } },
      },
      ...tables,
    ];
  },
};

/** One key at both ends, compared; milliseconds until both have answered. */
async function fetchBoth({ a, b, get }: BenchStream): Promise<number> {
  const started = performance.now();
  const [fromA, fromB] = await Promise.all([a.request(get), b.request(get)]);
  const elapsed = performance.now() - started;
  assertSameKey(fromA, fromB);
  return elapsed;
}

/** Each stream fetches as fast as it can for so long; milliseconds that each key took. */
export async function fetchAll(streams: readonly BenchStream[], ms: number): Promise<number[]> {
  const latencies: number[] = [];
  const end = performance.now() + ms;
  const busy = new Set<BenchStream>();
  let turn = 0;
  const isMany = streams.length > MOST_AT_ONCE;
  const work = async (worker: number) => {
    while (performance.now() < end) {
      let stream = streams[worker] as BenchStream;
      // Round and round; one that is still being asked is passed over.
      if (isMany)
        do stream = streams[turn++ % streams.length] as BenchStream;
        while (busy.has(stream));
      busy.add(stream);
      latencies.push(await fetchBoth(stream));
      busy.delete(stream);
    }
  };
  const workers = isMany ? FETCHES_AT_A_TIME : streams.length;
  await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
  return latencies;
}

async function measure({ network, options }: CaseContext, streams: readonly BenchStream[]) {
  await fetchAll(streams, streams.length > MOST_AT_ONCE ? options.measuredMs : 1000);
  const before = cpuByService(network);
  const started = performance.now();
  const latencies = await fetchAll(streams, options.measuredMs);
  const seconds = (performance.now() - started) / 1000;
  const by = Object.fromEntries(
    Object.entries(cpuByService(network)).map(([name, ms]) => [
      name,
      (ms - (before[name] ?? 0)) / latencies.length,
    ]),
  );
  const { p50, p95, p99, max } = percentiles(latencies);
  return {
    'keys/s': latencies.length / seconds,
    p50,
    p95,
    p99,
    max,
    'CPU ms/key': Object.values(by).reduce((sum, ms) => sum + ms, 0),
    ...by,
  };
}

/** The turns of the event loops under the same load, apart, since measuring them costs CPU time. */
async function turns({ probes, options }: CaseContext, streams: readonly BenchStream[]) {
  await probes.start();
  await fetchAll(streams, options.measuredMs);
  const title = `Event loops, ${streams.length} streams as fast as they can: turns and garbage collections, ms`;
  return processTable(title, await probes.figures());
}

function cpuByService({ nodes }: LocalNetwork): Record<string, number> {
  const by: Record<string, number> = {};
  for (const { services } of nodes) {
    for (const [name, { pid }] of Object.entries(services)) by[name] = (by[name] ?? 0) + cpuMs(pid);
  }
  return by;
}

function memoryMb({ nodes }: LocalNetwork): number {
  return nodes
    .flatMap(({ services }) => Object.values(services))
    .reduce((sum, { pid }) => sum + rssMb(pid), 0);
}
