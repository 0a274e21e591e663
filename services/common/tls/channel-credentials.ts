import type { Socket } from 'node:net';
import {
  createSecureContext,
  type SecureContextOptions,
  type TLSSocket,
  connect as tlsConnect,
} from 'node:tls';
import { CallCredentials, ChannelCredentials } from '@grpc/grpc-js';
import { systemClock } from '#common/time/clock.ts';
import type { OpenConnections } from '#common/tls/open-connections.ts';
import { spiffeIdOfCertificate } from '#common/tls/spiffe.ts';
import type { Trust } from '#common/tls/trust.ts';

/** The only key exchange between services and nodes of ours. */
export const GROUP = 'X25519MLKEM768';

/** What a client needs of its identity, as it is at that moment. */
export interface ClientSide {
  readonly context: SecureContextOptions;
  readonly trust: Trust;
}

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/** Each new connection presents the newest certificate and accepts one server identity only. */
export class SpiffeChannelCredentials extends ChannelCredentials {
  readonly #expected: string;
  readonly #side: () => ClientSide;
  readonly #open: OpenConnections;
  readonly #limitMs: number;
  readonly #onHandshake: ((group: string | undefined) => void) | undefined;

  /** @param options.onHandshake is told which key exchange a server has chosen. */
  constructor(
    expected: string,
    options: {
      side: () => ClientSide;
      open: OpenConnections;
      limitMs: number;
      onHandshake?: ((group: string | undefined) => void) | undefined;
    },
  ) {
    super();
    this.#expected = expected;
    this.#side = options.side;
    this.#open = options.open;
    this.#limitMs = options.limitMs;
    this.#onHandshake = options.onHandshake;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(_target: unknown, options: Record<string, unknown>): SecureConnector {
    const servername = String(options['grpc.ssl_target_name_override'] ?? 'keyweave');
    return {
      connect: async (socket: Socket) => {
        const side = this.#side();
        const { socket: secured } = await secureConnect(socket, servername, this.#expected, {
          context: side.context,
          limitMs: this.#limitMs,
          onHandshake: this.#onHandshake,
        });
        const why = this.#open.add(secured, side.trust, systemClock.wallMs());
        if (why === undefined) return { socket: secured, secure: true };
        secured.destroy();
        throw new Error(`the server ${this.#expected} is refused: ${why}`);
      },
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => CallCredentials.createEmpty(),
      destroy: () => undefined,
    } as SecureConnector;
  }
}

function secureConnect(
  socket: Socket,
  servername: string,
  expected: string,
  {
    context,
    limitMs,
    onHandshake,
  }: {
    context: SecureContextOptions;
    limitMs: number;
    onHandshake: ((group: string | undefined) => void) | undefined;
  },
) {
  return new Promise<{ socket: TLSSocket; secure: boolean }>((resolve, reject) => {
    const secured = tlsConnect({
      socket,
      servername,
      ALPNProtocols: ['h2'],
      secureContext: createSecureContext(context),
      // The chain is checked by TLS; who it is follows from the SPIFFE id below, never from a host name.
      checkServerIdentity: () => undefined,
    });
    const timer = setTimeout(() => secured.destroy(new Error('TLS handshake timed out')), limitMs);
    secured.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    secured.once('close', () => {
      clearTimeout(timer);
      reject(new Error('connection closed during the TLS handshake'));
    });
    secured.once('secureConnect', () => {
      clearTimeout(timer);
      onHandshake?.(groupOf(secured));
      const problem = serverProblem(secured, expected);
      if (problem) secured.destroy(new Error(problem));
      else resolve({ socket: secured, secure: true });
    });
  });
}

function serverProblem(socket: TLSSocket, expected: string): string | undefined {
  if (!socket.authorized) return `server certificate refused: ${socket.authorizationError}`;
  const certificate = socket.getPeerX509Certificate();
  const found = certificate && spiffeIdOfCertificate(certificate);
  if (found !== expected) return `the server is ${found ?? 'nobody'}, not ${expected}`;
  const group = groupOf(socket);
  if (group !== GROUP) return `the server negotiated ${group ?? 'no'} key exchange, not ${GROUP}`;
  return undefined;
}

function groupOf(socket: TLSSocket): string | undefined {
  const group = socket.getEphemeralKeyInfo() as { name?: string } | null;
  return group?.name;
}
