import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { type LocalNode, openData } from './network.ts';
import type { OperatedNetwork } from './operated-network.ts';
import { SteadyReaders } from './steady-readers.ts';

/** Makes a change to files of these nodes; resolves when each of their services has loaded what came of it. */
export async function reloadedAfter(
  network: OperatedNetwork,
  nodes: readonly LocalNode[],
  act: () => unknown,
): Promise<void> {
  const before = nodes.map(
    (node) => [node, network.log(node).filter(({ msg }) => msg === 'certificate reloaded').length] as const,
  );
  await act();
  for (const [node, count] of before)
    await network.logged(node, 'every service has reloaded', count + SERVICE_NAMES.length, ({ msg }) =>
      msg.includes('certificate reloaded'),
    );
}

/** Reads two streams at both ends, ten keys a second each, for as long as `act` takes; gives every answer that was no key. */
export async function underLoad(
  from: LocalNode,
  to: LocalNode,
  act: () => Promise<void>,
): Promise<{ keys: number; lost: string[] }> {
  const pairs = [1, 2].map(() => ({
    source: from.json,
    destination: to.json,
    data: openData(from, to, undefined, { max_bps: 0, min_bps: 0, timeout: 30_000 }),
  }));
  const pids = [from, to].flatMap(({ services }) => Object.values(services).map(({ pid }) => pid));
  const readers = await SteadyReaders.start(pairs, 100, pids);
  const entries = [];
  try {
    await act();
  } finally {
    entries.push(...(await readers.stop()).entries);
  }
  const lost = entries.filter(({ status }) => status !== 0);
  return {
    keys: entries.length - lost.length,
    lost: lost.map(({ status, message }) => `${status}: ${message}`),
  };
}
