import { type ChildProcess, type ForkOptions, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cpuMs, waitedMs } from '../../helpers/proc.ts';
import { percentiles } from '../figures.ts';
import type { OpenLoopMessage, OpenLoopOrder, OpenLoopResult } from './open-loop-process.ts';

const CLIENT = fileURLToPath(new URL('./open-loop-process.ts', import.meta.url));

/** How a process of the benchmark's own is forked: with none of what the services' processes are loaded with. */
export const forkOptions = (): ForkOptions => ({
  execArgv: ['--disable-warning=ExperimentalWarning'],
  env: { ...process.env, NODE_OPTIONS: '' },
  serialization: 'advanced',
});

export interface OpenLoopMeasured {
  readonly result: OpenLoopResult;
  /** Of the client, while it measured. */
  readonly spent: { readonly cpuMs: number; readonly waitedMs: number };
}

/** What is to be done meanwhile, each before the client goes on. */
export interface OpenLoopSteps {
  /** Half of the warm-up is over. */
  warm?(): Promise<void>;
  /** It begins to measure. */
  measuring?(): Promise<void>;
  /** Every measured key has come. */
  done?(): Promise<void>;
}

/** The applications of an open loop, in a process of their own. */
export async function runOpenLoop(
  order: OpenLoopOrder,
  steps: OpenLoopSteps = {},
): Promise<OpenLoopMeasured> {
  const client = fork(CLIENT, [JSON.stringify(order)], forkOptions());
  try {
    const messages = messagesOf(client);
    await messages.next('warm');
    await steps.warm?.();
    await messages.next('measuring');
    const pid = client.pid as number;
    const before = { cpuMs: cpuMs(pid), waitedMs: waitedMs([pid]) };
    await steps.measuring?.();
    const { result } = await messages.next('done');
    const spent = { cpuMs: cpuMs(pid) - before.cpuMs, waitedMs: waitedMs([pid]) - before.waitedMs };
    await steps.done?.();
    await messages.ended;
    return { result, spent };
  } finally {
    client.kill('SIGKILL');
  }
}

/** The latencies of a result as columns of a table. */
export function latencyColumns({ latencies, lateness, service, queued }: OpenLoopResult) {
  const [whole, late, served] = [percentiles(latencies), percentiles(lateness), percentiles(service)];
  return {
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
  };
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
