import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { forkOptions, latencyColumns, runOpenLoop } from '../client/open-loop-client.ts';
import type { BenchCase } from './case.ts';

const READY_NODE = fileURLToPath(new URL('../client/ready-node.ts', import.meta.url));

/**
 * The open loop over two processes that have every answer: what the machine
 * and the client themselves take, below which no node can be. The real nodes
 * are idle meanwhile.
 */
export const floor: BenchCase = {
  async run({ network, options, progress }) {
    const { rates, openLoopStreams: streams, warmUpMs, measuredMs, pacer, sources, method } = options;
    const ready = network.nodes.map(({ uuid }) => ({
      uuid,
      process: fork(READY_NODE, [], forkOptions()),
    }));
    try {
      const ends = await Promise.all(
        ready.map(async ({ uuid, process }) => ({ uuid, json: await addressOf(process) })),
      );
      const kind = { ends: ends as [(typeof ends)[0], (typeof ends)[0]], sources, method };
      const rows: Record<string, Record<string, number>> = {};
      for (const rate of rates) {
        progress(`floor, ${streams} streams, ${rate} keys/s`);
        const { result } = await runOpenLoop({ kind, streams, rate, warmUpMs, measuredMs, pacer });
        rows[`${rate} keys/s`] = latencyColumns(result);
      }
      return [{ title: `Floor of the open loop, ${streams} streams, ms`, rows }];
    } finally {
      for (const { process } of ready) process.kill('SIGKILL');
    }
  },
};

async function addressOf(node: ChildProcess) {
  const [{ address, port }] = (await once(node, 'message')) as [AddressInfo];
  return { host: address, port };
}
