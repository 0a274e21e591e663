import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import {
  createSecureContext,
  type SecureContextOptions,
  type TLSSocket,
  connect as tlsConnect,
} from 'node:tls';
import { CallCredentials, ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import type { CertificateFiles } from '#common/tls/certificate-files.ts';
import { spiffeIdOfCertificate } from '#common/tls/spiffe.ts';

/** The only key exchange between services and nodes of ours. */
const GROUP = 'X25519MLKEM768';
const HANDSHAKE_LIMIT_MS = 5_000;
const POLL_MS = 2_000;

/** One service's certificate, key and CA, reloaded when the files change. */
export interface TlsIdentity {
  /** The SPIFFE URI of the own certificate. */
  readonly spiffeId: string;
  /** End of validity of the certificate in use, milliseconds since the epoch. */
  readonly notAfterMs: number;
  /** mTLS for a gRPC server: TLS 1.3, X25519MLKEM768 only, client certificate required. */
  serverCredentials(): ServerCredentials;
  /** mTLS towards the server whose certificate carries exactly `spiffeId`. */
  channelCredentials(spiffeId: string): ChannelCredentials;
  close(): void;
}

interface Material {
  readonly context: SecureContextOptions;
  readonly spiffeId: string;
  readonly notAfterMs: number;
  readonly stamp: string;
}

export interface TlsIdentityOptions extends CertificateFiles {
  log: Log;
  /** How often the files are looked at. */
  pollMs?: number;
  /** How long a handshake may take, at either end. */
  handshakeLimitMs?: number;
}

/**
 * Loads a service's identity and keeps it fresh. A new set of files is checked
 * as a whole before it is used; until it is sound the old one stays.
 *
 * @throws KeyweaveError BAD_CONFIG when the first set is not usable.
 */
export function loadTlsIdentity(options: TlsIdentityOptions): TlsIdentity {
  let material = load(options);
  const limitMs = options.handshakeLimitMs ?? HANDSHAKE_LIMIT_MS;
  let rejectedStamp = '';
  const servers = new Set<ReloadableServerCredentials>();

  const timer = setInterval(() => {
    const stamp = stampOf(options);
    if (stamp === material.stamp || stamp === rejectedStamp) return;
    try {
      material = load(options);
      for (const server of servers) server.reload(material.context);
      options.log.info('certificate reloaded', { path: options.certPath, spiffeId: material.spiffeId });
    } catch (error) {
      // Files are replaced one after the other: half a change is no error until it stays.
      rejectedStamp = stamp;
      options.log.warning(
        'the new certificate is not usable, the old one stays',
        { path: options.certPath },
        error,
      );
    }
  }, options.pollMs ?? POLL_MS);
  timer.unref();

  return {
    get spiffeId() {
      return material.spiffeId;
    },
    get notAfterMs() {
      return material.notAfterMs;
    },
    serverCredentials: () => {
      const credentials = new ReloadableServerCredentials(material.context, limitMs);
      servers.add(credentials);
      return credentials;
    },
    channelCredentials: (spiffeId) => new SpiffeChannelCredentials(spiffeId, () => material.context, limitMs),
    close: () => clearInterval(timer),
  };
}

/** Context options are spread into the HTTP/2 server, which is how TLS version, group and handshake limit get there. */
class ReloadableServerCredentials extends ServerCredentials {
  constructor(context: SecureContextOptions, limitMs: number) {
    super({ ...context, requestCert: true, rejectUnauthorized: true, handshakeTimeout: limitMs }, context);
  }

  reload(context: SecureContextOptions): void {
    this.updateSecureContextOptions(context);
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;

/** Each new connection presents the newest certificate and accepts one server identity only. */
class SpiffeChannelCredentials extends ChannelCredentials {
  readonly #expected: string;
  readonly #context: () => SecureContextOptions;
  readonly #limitMs: number;

  constructor(expected: string, context: () => SecureContextOptions, limitMs: number) {
    super();
    this.#expected = expected;
    this.#context = context;
    this.#limitMs = limitMs;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(_target: unknown, options: Record<string, unknown>): SecureConnector {
    const expected = this.#expected;
    const context = this.#context;
    const limitMs = this.#limitMs;
    const servername = String(options['grpc.ssl_target_name_override'] ?? 'keyweave');
    return {
      connect: (socket: Socket) =>
        secureConnect(socket, servername, expected, { context: context(), limitMs }),
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
  { context, limitMs }: { context: SecureContextOptions; limitMs: number },
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
  const group = socket.getEphemeralKeyInfo() as { name?: string } | null;
  if (group?.name !== GROUP) return `the server negotiated ${group?.name ?? 'no'} key exchange, not ${GROUP}`;
  return undefined;
}

function load({ caPath, certPath, keyPath }: CertificateFiles): Material {
  const stamp = stampOf({ caPath, certPath, keyPath });
  try {
    const [ca, cert, key] = [readFileSync(caPath), readFileSync(certPath), readFileSync(keyPath)];
    const certificate = new X509Certificate(cert);
    if (!certificate.checkPrivateKey(createPrivateKey(key)))
      throw new Error('key and certificate do not match');
    const spiffeId = spiffeIdOfCertificate(certificate);
    if (spiffeId === undefined) throw new Error('the certificate carries no SPIFFE id of ours');
    const context = { ca, cert, key, minVersion: 'TLSv1.3' as const, ecdhCurve: GROUP };
    createSecureContext(context);
    return { context, spiffeId, notAfterMs: certificate.validToDate.getTime(), stamp };
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${certPath}: ${(cause as Error).message}`, { cause });
  }
}

/** Changes whenever one of the files does. */
function stampOf({ caPath, certPath, keyPath }: CertificateFiles): string {
  return [caPath, certPath, keyPath]
    .map((path) => {
      const stat = statSync(path, { throwIfNoEntry: false });
      return `${stat?.mtimeMs}:${stat?.ino}:${stat?.size}`;
    })
    .join(' ');
}
