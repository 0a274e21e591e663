import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, Server as TlsServer } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { appListenerTlsOptions, reloadingTls } from '#common/tls/app-listener.ts';
import type { KeyDelivery } from '../../delivery/gateway-delivery.ts';
import { FairTurns } from '../fair-turns.ts';
import { leanSocket } from '../lean-socket.ts';
import { type JsonConnection, serveJsonConnection } from './connection.ts';

export interface JsonListener {
  readonly address: Address;
  /** Stops accepting, lets requests under way finish within the grace, then cuts. */
  stop(): Promise<void>;
}

/** The reference's API: ETSI 004 as JSON over TCP, optionally behind TLS. */
export async function startEtsi004JsonTcp(options: {
  context: ServiceContext;
  delivery: KeyDelivery;
  address: Address;
}): Promise<JsonListener> {
  const { context, delivery, address } = options;
  const { config, log, identity } = context;
  const settings = config.listeners.json;
  const connections = new Set<JsonConnection>();
  const turns = new FairTurns();

  const serve = (socket: (receive: (data: Buffer) => void) => Socket) => {
    const connection = serveJsonConnection({
      socket,
      delivery,
      limits: config.limits,
      presence: settings.peer_presence,
      turns,
      log,
    });
    connections.add(connection);
    connection.socket.once('close', () => connections.delete(connection));
  };
  const server: Server =
    settings.tls === 'off'
      ? createTcpServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (accepted) =>
          serve((receive) => leanSocket(accepted, receive)),
        )
      : createTlsServer(
          {
            ...appListenerTlsOptions(identity, settings.tls === 'mutual'),
            allowHalfOpen: true,
            noDelay: true,
            handshakeTimeout: 5_000,
          },
          (accepted) => serve((receive) => accepted.on('data', receive)),
        ).on('tlsClientError', (_error, socket) => socket.destroy());
  if (server instanceof TlsServer) reloadingTls(server, identity, log);
  server.maxConnections = config.limits.max_connections;
  server.on('drop', () => log.warning('a connection was refused: max_connections is reached'));

  const bound = await listen(server, address);
  server.on('error', (error) => log.error('the JSON listener failed', {}, error));
  if (settings.tls === 'off' && !isLoopback(bound.host)) {
    log.warning('keys are served without TLS on an address that is not loopback', { host: bound.host });
  }

  return {
    address: bound,
    stop: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const connection of connections) connection.finish();
      const cut = setTimeout(() => {
        for (const { socket } of connections) socket.destroy();
      }, config.limits.shutdown_grace);
      await closed;
      clearTimeout(cut);
    },
  };
}

function listen(server: Server, { host, port }: Address): Promise<Address> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new KeyweaveError('BAD_CONFIG', `hybridization_server_address: cannot listen on ${host}:${port}`, {
          cause,
        }),
      );
    });
    server.listen({ host, port, backlog: 2048 }, () => {
      server.removeAllListeners('error');
      const bound = server.address();
      resolve({ host, port: typeof bound === 'object' && bound ? bound.port : port });
    });
  });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}
