import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import {
  createServer as createTlsServer,
  type TLSSocket,
  type TlsOptions,
  type Server as TlsServer,
} from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import type { LimitedLog } from '#common/log/limited-log.ts';
import type { Log } from '#common/log/log.ts';
import { boundConnections } from '#common/net/bounded-connections.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import { listen } from '#common/net/listen.ts';
import { isLoopback } from '#common/net/same-host.ts';
import type { Owner } from '../streams/owner.ts';
import { clientIdentity } from './client-identity.ts';
import { leanSocket } from './lean-socket.ts';

/** How long a client may take for the TLS handshake. */
const HANDSHAKE_LIMIT_MS = 5_000;

/** Connections that wait to be accepted. */
const BACKLOG = 2_048;

/** A connection that a client has made. */
export interface Accepted {
  /** Who calls. */
  readonly owner: Owner;
  /**
   * Takes it over. Both ends close their sending sides by themselves.
   *
   * @param receive is lent what is read until it returns.
   */
  open(receive: (data: Buffer) => void): Socket;
}

/** A connection that is being served. */
export interface Connection {
  readonly socket: Socket;
  /** Answers what has come and closes. */
  finish(): void;
}

export interface ListenerOptions {
  readonly address: Address;
  /** The setting that gives the address, for messages. */
  readonly setting: string;
  /** off: plain TCP; server: TLS; mutual: TLS with client certificates, which name the applications. */
  readonly tls: 'off' | 'server' | 'mutual';
  /** Certificate, key and CA as they are now; not called where TLS is off. */
  tlsOptions(): TlsOptions;
  /** Keeps the TLS server at what they will be; called once, before it listens. */
  follow(server: TlsServer): void;
  readonly limits: Pick<
    NodeConfig['limits'],
    'max_connections' | 'max_connections_per_network' | 'shutdown_grace'
  >;
  /** Serves a connection, at once. */
  serve(accepted: Accepted): Connection;
  readonly log: Log;
  /** Lines about clients that are not served, limited for each. */
  readonly refusals: Pick<LimitedLog, 'line'>;
  readonly handshakeLimitMs?: number;
}

/**
 * Listens for applications, with or without TLS, within the node's limits: one
 * for all protocols that come over sockets.
 */
export class Listener {
  readonly #o: ListenerOptions;
  readonly #server: Server | TlsServer;
  readonly #connections = new Set<Connection>();
  /** Clients whose TLS handshake is under way, by their address. */
  readonly #greeting = new Map<string, Socket>();
  #address: Address;

  private constructor(options: ListenerOptions) {
    this.#o = options;
    this.#address = options.address;
    this.#server = options.tls === 'off' ? this.#tcpServer() : this.#tlsServer();
    boundConnections(this.#server, options.limits, (client, why) => this.#refused(client, why));
  }

  /** @throws KeyweaveError BAD_CONFIG naming the setting where it cannot listen. */
  static async start(options: ListenerOptions): Promise<Listener> {
    const { log, setting, tls } = options;
    const listener = new Listener(options);
    await listener.#listen();
    listener.#server.on('error', (error) => log.error('a listener failed', { setting }, error));
    const { host } = listener.address;
    if (tls === 'off' && !isLoopback(host)) {
      log.warning('keys are served without TLS on an address that is not loopback', { host, setting });
    }
    return listener;
  }

  /** Where it listens; the port that it got where any was asked for. */
  get address(): Address {
    return this.#address;
  }

  /** Stops accepting, has every connection finish, and cuts those that are there after the grace; never rejects. */
  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#greeting.values()) socket.destroy();
    for (const connection of this.#connections) connection.finish();
    const cut = setTimeout(() => {
      for (const { socket } of this.#connections) socket.destroy();
    }, this.#o.limits.shutdown_grace);
    await closed;
    clearTimeout(cut);
  }

  #tcpServer(): Server {
    const options = { allowHalfOpen: true, noDelay: true, pauseOnConnect: true };
    return createTcpServer(options, (accepted) => {
      if (accepted.destroyed) return;
      this.#serve({
        owner: { identity: undefined, address: addressOf(accepted) },
        open: (receive) => leanSocket(accepted, receive),
      });
    });
  }

  #tlsServer(): TlsServer {
    const { tlsOptions, handshakeLimitMs = HANDSHAKE_LIMIT_MS } = this.#o;
    const options = {
      ...tlsOptions(),
      ...{ allowHalfOpen: true, noDelay: true, handshakeTimeout: handshakeLimitMs },
    };
    const server = createTlsServer(options);
    this.#o.follow(server);
    // One that was ended at once for its certificate is not served.
    server.on('secureConnection', (accepted) => {
      if (!accepted.destroyed) this.#serveSecured(accepted);
    });
    server.on('connection', (socket: Socket) => {
      const address = addressOf(socket);
      this.#greeting.set(address, socket);
      socket.once('close', () => this.#greeting.delete(address));
    });
    return server.on('tlsClientError', (_error, socket) => socket.destroy());
  }

  #serveSecured(accepted: TLSSocket): void {
    const { tls } = this.#o;
    const address = addressOf(accepted);
    this.#greeting.delete(address);
    const certificate = tls === 'mutual' ? accepted.getPeerX509Certificate() : undefined;
    const identity = certificate && clientIdentity(certificate);
    // Without a name it would share its streams with all others that have none.
    if (tls === 'mutual' && identity === undefined) {
      this.#refused(address, 'a client was refused whose certificate names nobody');
      accepted.on('error', () => undefined).destroy();
      return;
    }
    this.#serve({
      owner: { identity, address },
      open: (receive) => accepted.on('data', receive),
    });
  }

  #refused(client: string, why: string): void {
    const { refusals, setting } = this.#o;
    refusals.line(clientNetwork(client), 'warning', why, { client, setting });
  }

  #serve(accepted: Accepted): void {
    const connection = this.#o.serve(accepted);
    this.#connections.add(connection);
    connection.socket.once('close', () => this.#connections.delete(connection));
  }

  async #listen(): Promise<void> {
    const { setting, address } = this.#o;
    const failure = `${setting}: cannot listen on ${address.host}:${address.port}`;
    this.#address = await listen(this.#server, address, failure, { backlog: BACKLOG });
  }
}

function addressOf({ remoteAddress = 'gone', remotePort = 0 }: Socket): string {
  return `${remoteAddress}:${remotePort}`;
}
