import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cpuMs, waitedMs } from '../../helpers/proc.ts';
import { streamKind } from '../client/bench-stream.ts';
import type { OpenLoopMessage, OpenLoopOrder, OpenLoopResult } from '../client/open-loop-process.ts';
import { type FigureTable, percentiles } from '../figures.ts';
import { cpuShares } from '../probe/cpu-shares.ts';
import type { ProcessFigures } from '../probe/probes.ts';
import type { BenchCase, CaseContext } from './case.ts';
import { processTable } from './process-table.ts';

const CLIENT = fileURLToPath(new URL('../client/open-loop-process.ts', import.meta.url));

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
    const { latencies, lateness, service, queued } = measured.result;
    const [whole, late, served] = [latencies, lateness, service].map(percentiles) as [
      ReturnType<typeof percentiles>,
      ReturnType<typeof percentiles>,
      ReturnType<typeof percentiles>,
    ];
    rows[label] = {
      p50: whole.p50,
      p99: whole.p99,
      'p99.9': whole.p999,
      max: whole.max,
      'client late p50': late.p50,
      'p99 ': late.p99,
      'p99.9 ': late.p999,
      'from asking p50': served.p50,
      'p99  ': served.p99,
      'p99.9  ': served.p999,
      'queued %': (queued / latencies.length) * 100,
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
  const order: OpenLoopOrder = { kind: streamKind(network, options), ...load, warmUpMs, measuredMs, pacer };
  const client = fork(CLIENT, [JSON.stringify(order)], {
    execArgv: ['--disable-warning=ExperimentalWarning'],
    env: { ...process.env, NODE_OPTIONS: '' },
    serialization: 'advanced',
  });
  try {
    const messages = messagesOf(client);
    await messages.next('warm');
    // Its start holds a process up for some 0.1 s, which is not to be measured.
    const profiled = options.profiles ? await probes.profile(profilesOf(options.profiles, load)) : undefined;
    await messages.next('measuring');
    const pid = client.pid as number;
    const before = { cpuMs: cpuMs(pid), waitedMs: waitedMs([pid]) };
    await probes.start();
    const { result } = await messages.next('done');
    const spent = { cpuMs: cpuMs(pid) - before.cpuMs, waitedMs: waitedMs([pid]) - before.waitedMs };
    const processes = await probes.figures();
    const [{ elapsedMs } = { elapsedMs: measuredMs }] = processes;
    await profiled?.();
    await messages.ended;
    return {
      result,
      processes,
      cpuMs: processes.reduce((sum, one) => sum + (one.service === 'supervisor' ? 0 : one.cpuMs), 0),
      client: {
        cpuPercent: (spent.cpuMs / elapsedMs) * 100,
        waitedPercent: (spent.waitedMs / elapsedMs) * 100,
      },
    };
  } finally {
    client.kill('SIGKILL');
  }
}

function profilesOf(folder: string, { streams, rate }: Load): string {
  return join(folder, `${streams}-streams-${rate}-a-second`);
}

/** What the client tells, once each; its end before that is an error. */
function messagesOf(client: ChildProcess) {
  const told = {
    warm: Promise.withResolvers<unknown>(),
    measuring: Promise.withResolvers<unknown>(),
    done: Promise.withResolvers<unknown>(),
    /** It has ended well. */
    ended: Promise.withResolvers<unknown>(),
  };
  const end = (why: string) => {
    for (const { promise, reject } of Object.values(told)) {
      promise.catch(() => undefined);
      reject(new Error(`the client of the open loop ${why}`));
    }
  };
  client.on('message', (message: OpenLoopMessage) => told[message.type].resolve(message));
  client.once('exit', (code, signal) => {
    if (code !== 0) end(`has failed (${signal ?? code})`);
    else {
      told.ended.resolve(undefined);
      // What it has told last may still be on its way.
      if (client.connected) client.once('disconnect', () => end('has ended early'));
      else end('has ended early');
    }
  });
  return {
    next: <T extends OpenLoopMessage['type']>(type: T) =>
      told[type].promise as Promise<Extract<OpenLoopMessage, { type: T }>>,
    ended: told.ended.promise,
  };
}

/** Spikes that come back show in it, which percentiles hide. */
function worstBySecond(latencies: readonly number[], rate: number): string {
  const seconds = Math.floor(latencies.length / rate);
  return Array.from({ length: seconds }, (_, s) =>
    Math.max(...latencies.slice(s * rate, (s + 1) * rate)).toFixed(1),
  ).join(' ');
}
