import type { Server, Socket } from 'node:net';
import { clientNetwork } from '#common/net/client-network.ts';
import { isLoopback } from '#common/net/same-host.ts';

const LOOPBACK_V6 = clientNetwork('::1');

export interface ConnectionLimits {
  readonly max_connections: number;
  /** Absent: half of max_connections, and loopback has all. */
  readonly max_connections_per_network?: number | undefined;
}

/**
 * Limits the connections of a server, and of those the ones from one network
 * of a client. One too many ends before anything of it is read. Call it
 * before others listen for connections: they get those, too, destroyed.
 *
 * @param refused is told of each, by the client's address.
 */
export function boundConnections(
  server: Server,
  { max_connections: most, max_connections_per_network: perNetwork }: ConnectionLimits,
  refused: (client: string, why: string) => void,
): void {
  server.maxConnections = most;
  server.on('drop', (dropped) => {
    refused(dropped?.remoteAddress ?? '', 'a connection was refused: limits.max_connections is reached');
  });
  const counts = new Map<string, number>();
  server.prependListener('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? 'gone';
    const network = clientNetwork(address);
    const count = counts.get(network) ?? 0;
    if (count >= (perNetwork ?? (isOwnMachine(network) ? most : Math.ceil(most / 2)))) {
      refused(address, 'a connection was refused: limits.max_connections_per_network is reached');
      socket.destroy();
      return;
    }
    counts.set(network, count + 1);
    socket.once('close', () => {
      const left = (counts.get(network) ?? 1) - 1;
      if (left === 0) counts.delete(network);
      else counts.set(network, left);
    });
  });
}

/** Clients on the own machine, and of a relay there, are told apart by nothing. */
function isOwnMachine(network: string): boolean {
  return isLoopback(network) || network === LOOPBACK_V6;
}
