import { join } from 'node:path';
import { streamKind } from '../client/bench-stream.ts';
import { latencyColumns, runOpenLoop } from '../client/open-loop-client.ts';
import type { OpenLoopOrder, OpenLoopResult } from '../client/open-loop-process.ts';
import type { FigureTable } from '../figures.ts';
import { cpuShares } from '../probe/cpu-shares.ts';
import type { ProcessFigures } from '../probe/probes.ts';
import type { BenchCase, CaseContext } from './case.ts';
import { processTable } from './process-table.ts';

/** Keys that fall due at fixed rates, whatever becomes of those before them. */
export const openLoop: BenchCase = {
  async run(context) {
    const { rates, openLoopStreams: streams } = context.options;
    return await measureAll(
      context,
      rates.map((rate) => ({ rate, streams })),
    );
  },
};

/** Many streams at one key a second each. */
export const slowStreams: BenchCase = {
  async run(context) {
    const { slowStreams: streams } = context.options;
    return await measureAll(context, [{ rate: streams, streams }]);
  },
};

type Load = Pick<OpenLoopOrder, 'rate' | 'streams'>;

async function measureAll(context: CaseContext, loads: readonly Load[]): Promise<FigureTable[]> {
  const tables: FigureTable[] = [];
  const [first] = loads;
  const rows: Record<string, Record<string, number>> = {};
  const worst: string[] = [];
  for (const load of loads) {
    const label = `${load.rate} keys/s`;
    context.progress(`open loop, ${load.streams} streams, ${label}`);
    const measured = await measure(context, load);
    const { latencies } = measured.result;
    rows[label] = {
      ...latencyColumns(measured.result),
      'CPU ms/key': measured.cpuMs / latencies.length,
      'client CPU %': measured.client.cpuPercent,
      'core awaited %': measured.client.waitedPercent,
    };
    worst.push(`worst by second at ${label}: ${worstBySecond(latencies, load.rate)}`);
    const title = `Event loops, ${load.streams} streams, ${label}: turns and garbage collections, ms`;
    tables.push(processTable(title, measured.processes));
    if (context.options.profiles) {
      const rows = cpuShares(profilesOf(context.options.profiles, load));
      tables.push({ title: `What CPU time went to by profile, ${load.streams} streams, ${label}`, rows });
    }
  }
  const title = `Open loop, ${first?.streams} streams: from due until both ends have the key, ms`;
  return [{ title, rows, note: worst.join('\n') }, ...tables];
}

interface Measured {
  readonly result: OpenLoopResult;
  readonly processes: readonly ProcessFigures[];
  /** Of all services. */
  readonly cpuMs: number;
  readonly client: { readonly cpuPercent: number; readonly waitedPercent: number };
}

async function measure({ network, probes, options }: CaseContext, load: Load): Promise<Measured> {
  const { warmUpMs, measuredMs, pacer } = options;
  let endProfiles: (() => Promise<void>) | undefined;
  let processes: ProcessFigures[] = [];
  const { result, spent } = await runOpenLoop(
    { kind: streamKind(network, options), ...load, warmUpMs, measuredMs, pacer },
    {
      // Its start holds a process up for some 0.1 s, which is not to be measured.
      warm: async () => {
        if (options.profiles) endProfiles = await probes.profile(profilesOf(options.profiles, load));
      },
      measuring: () => probes.start(),
      done: async () => {
        processes = await probes.figures();
        await endProfiles?.();
      },
    },
  );
  const [{ elapsedMs } = { elapsedMs: measuredMs }] = processes;
  return {
    result,
    processes,
    cpuMs: processes.reduce((sum, one) => sum + (one.service === 'supervisor' ? 0 : one.cpuMs), 0),
    client: {
      cpuPercent: (spent.cpuMs / elapsedMs) * 100,
      waitedPercent: (spent.waitedMs / elapsedMs) * 100,
    },
  };
}

function profilesOf(folder: string, { streams, rate }: Load): string {
  return join(folder, `${streams}-streams-${rate}-a-second`);
}

/** Spikes that come back show in it, which percentiles hide. */
function worstBySecond(latencies: readonly number[], rate: number): string {
  const seconds = Math.floor(latencies.length / rate);
  return Array.from({ length: seconds }, (_, s) =>
    Math.max(...latencies.slice(s * rate, (s + 1) * rate)).toFixed(1),
  ).join(' ');
}
