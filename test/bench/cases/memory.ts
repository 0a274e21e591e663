import { setTimeout as sleep } from 'node:timers/promises';
import { memoryOf } from '../../helpers/proc.ts';
import { closeStream, openStream, streamKind } from '../client/bench-stream.ts';
import type { FigureTable } from '../figures.ts';
import type { BenchCase, CaseContext } from './case.ts';
import { fetchAll } from './throughput.ts';

/** What starting has left behind is given back by then. */
const SETTLE_MS = 3_000;
const MB = 1_048_576;

/** What each process of a node holds: before anything is served, right after full load, and after a rest. */
export const memory: BenchCase = {
  isOnce: true,
  async run(context) {
    const { network, options, progress } = context;
    await sleep(SETTLE_MS);
    const idle = await holdings(context, 'idle');
    progress(`memory: ${options.loadMs / 60_000} minutes of full load`);
    const streams = [];
    for (let i = 0; i < options.openLoopStreams; i++)
      streams.push(await openStream(streamKind(network, options)));
    await fetchAll(streams, options.loadMs);
    const loaded = await holdings(context, `after ${options.loadMs / 60_000} min of full load`);
    progress(`memory: ${options.restMs / 1000} seconds of rest`);
    await sleep(options.restMs);
    const rested = await holdings(context, `after ${options.restMs / 1000} s of rest`);
    for (const stream of streams) await closeStream(stream);
    return [idle, loaded, rested];
  },
};

/** Means of the nodes. */
async function holdings({ network, probes }: CaseContext, when: string): Promise<FigureTable> {
  const share = 1 / network.nodes.length;
  const rows: Record<string, Record<string, number>> = {};
  // The kernel's figures first: asking a process takes memory.
  const kernel = new Map(
    network.nodes.flatMap((node) =>
      [...Object.values(node.services).map(({ pid }) => pid), node.process.pid as number].map((pid) => [
        pid,
        memoryOf(pid),
      ]),
    ),
  );
  const five: Record<string, number> = {};
  for (const { service, pid, ...heap } of await probes.heaps()) {
    const { rssMb = 0, pssMb = 0, anonymousMb = 0 } = kernel.get(pid) ?? {};
    const figures = {
      RSS: rssMb,
      PSS: pssMb,
      anonymous: anonymousMb,
      'heap used': heap.heapUsed / MB,
      'of total': heap.heapTotal / MB,
      external: heap.external / MB,
      'array buffers': heap.arrayBuffers / MB,
      code: heap.code / MB,
    };
    rows[service] ??= {};
    for (const [name, mb] of Object.entries(figures)) {
      rows[service][name] = (rows[service][name] ?? 0) + mb * share;
      if (service !== 'supervisor') five[name] = (five[name] ?? 0) + mb * share;
    }
  }
  return { title: `Memory ${when}, MB, means of both nodes`, rows: { ...rows, 'the five services': five } };
}
