import assert from 'node:assert/strict';
import { run } from './command.ts';
import { docker, IMAGE, networkName } from './container-network.ts';

/** Addresses of the project's containers in one of its networks. */
export async function addressesIn(network: string): Promise<string[]> {
  const [state] = JSON.parse(await docker('network', 'inspect', networkName(network))) as [
    { Containers: Record<string, { IPv4Address: string }> },
  ];
  return Object.values(state.Containers).map(({ IPv4Address }) => IPv4Address.split('/')[0] as string);
}

/** Runs a script in a container of its own in a network, as an application or a peer would. */
export function inContainerOf(network: string, script: string): Promise<string> {
  return run('docker', [
    'run',
    '--rm',
    '--init',
    `--network=${networkName(network)}`,
    '--entrypoint=node',
    IMAGE,
    '-e',
    script,
  ]);
}

/** Which ports of which addresses take a connection from a network. */
export async function openPorts(
  network: string,
  addresses: readonly string[],
  ports: readonly number[],
): Promise<Record<string, number[]>> {
  const script = `
    const { connect } = require('node:net');
    const probe = (host, port) => new Promise((resolve) => {
      const socket = connect({ host, port, timeout: 1000 }, () => { resolve(port); socket.destroy(); });
      socket.on('timeout', () => { resolve(); socket.destroy(); });
      socket.on('error', () => resolve());
    });
    const all = ${JSON.stringify(addresses)}.map(async (host) => {
      const open = await Promise.all(${JSON.stringify(ports)}.map((port) => probe(host, port)));
      return [host, open.filter(Boolean)];
    });
    Promise.all(all).then((found) => console.log(JSON.stringify(Object.fromEntries(found))));`;
  return JSON.parse(await inContainerOf(network, script)) as Record<string, number[]>;
}

/** No address of the other networks answers on any of these ports. */
export async function assertUnreachable(
  from: string,
  others: readonly string[],
  ports: readonly number[],
): Promise<void> {
  const addresses = (await Promise.all(others.map(addressesIn))).flat();
  assert.ok(addresses.length >= others.length);
  const open = await openPorts(from, addresses, ports);
  assert.deepEqual(Object.values(open).flat(), []);
}
