import { freePorts } from '../../services/cli/free-ports.ts';
import { type LocalNetwork, openData, openPair, type Pair, startLocalNetwork } from './network.ts';

export interface ConsoleNetwork {
  readonly network: LocalNetwork;
  /** The first node's console. */
  readonly url: string;
}

/** Three nodes, the first with metrics and a console, the second with a console by mutual TLS and no metrics. */
export async function startConsoleNetwork(names: readonly [string, string, string]): Promise<ConsoleNetwork> {
  const [health = 0] = await freePorts('127.0.0.1', 1);
  const network = await startLocalNetwork({
    names,
    config: (name) =>
      [
        { listeners: { console: { port: 0 } }, health: { port: health }, telemetry: {} },
        { listeners: { console: { host: '127.0.0.2', port: 0, tls: 'mutual' } } },
        {},
      ][names.indexOf(name)] ?? {},
  });
  const { console: address } = network.nodes[0] ?? {};
  return { network, url: `http://127.0.0.1:${address?.port}` };
}

/** A stream between the first node and another one. */
export function openTo(network: LocalNetwork, other: number, query?: string): Promise<Pair> {
  const nodes = [network.nodes[0], network.nodes[other]] as const;
  const [first, second] = nodes;
  if (!first || !second) throw new Error('there is no such node');
  const data = openData(first, second, query, { timeout: 5_000 });
  return openPair({ ...network, nodes: [first, second] }, data);
}

/** Takes the next key at both ends; whether both have got it. */
export async function takeKey({ a, b, ksid }: Pair): Promise<boolean> {
  const answers = await Promise.all([a.getKey(ksid), b.getKey(ksid)]);
  return answers.every(({ status }) => status === 0);
}
