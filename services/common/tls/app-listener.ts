import type { Server, TLSSocket, TlsOptions } from 'node:tls';
import type { ServerCredentials } from '@grpc/grpc-js';
import type { Log } from '#common/log/log.ts';
import { systemClock } from '#common/time/clock.ts';
import type { TlsIdentity } from '#common/tls/identity.ts';
import { OpenConnections } from '#common/tls/open-connections.ts';
import { ReloadableServerCredentials } from '#common/tls/server-credentials.ts';

/** How often connections that stand are held against the dates of their certificates. */
const DATES_MS = 2_000;

/** What every context of the listener has in common: TLS 1.3, the hybrid group first and X25519 for clients that have nothing better. */
const POLICY: ListenerPolicy = { minVersion: 'TLSv1.3', ecdhCurve: 'X25519MLKEM768:X25519' };

/** Versions, groups and suites of a listener. */
export type ListenerPolicy = Pick<
  TlsOptions,
  'minVersion' | 'ecdhCurve' | 'ciphers' | 'dhparam' | 'secureOptions'
>;

/**
 * TLS of a listener that applications reach, to make its server with; the
 * server is then given to `reloadingTls`.
 *
 * @param mutual whether applications must show a certificate of one of the CAs.
 */
export function appListenerTlsOptions(
  identity: Pick<TlsIdentity, 'pems'>,
  mutual: boolean,
  policy = POLICY,
): TlsOptions {
  return { ...identity.pems, ...policy, requestCert: mutual, rejectUnauthorized: mutual };
}

/** How long a client may take for the TLS handshake. */
const HANDSHAKE_LIMIT_MS = 5_000;

/** The same for a gRPC server, whose clients must show a certificate; it follows the identity until the process ends. */
export function appServerCredentials(identity: Pick<TlsIdentity, 'pems' | 'onChange'>): ServerCredentials {
  const context = () => ({ ...identity.pems, ...POLICY });
  const credentials = new ReloadableServerCredentials(context(), HANDSHAKE_LIMIT_MS);
  identity.onChange(() => credentials.reload(context()));
  return credentials;
}

/**
 * Keeps a TLS server at the identity's newest certificate, key and CAs until
 * it closes: connections that are open stay, new ones get the new. Those whose
 * client has shown a certificate end as soon as it is revoked, its CA is
 * removed or its time is over. Call it before the server listens, and before
 * others listen for its connections.
 */
export function reloadingTls(
  server: Server,
  identity: Pick<TlsIdentity, 'pems' | 'trust' | 'onChange'>,
  log: Pick<Log, 'warning'>,
  policy = POLICY,
): void {
  const open = new OpenConnections();
  const endRefused = () => open.endRefused(systemClock.wallMs(), end);
  const end = (socket: TLSSocket, why: string) => {
    log.warning("an application's connection was ended", { client: socket.remoteAddress, reason: why });
    socket.destroy();
  };
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    const why = open.add(socket, identity.trust, systemClock.wallMs());
    if (why !== undefined) end(socket, why);
  });
  const unsubscribe = identity.onChange(() => {
    server.setSecureContext({ ...identity.pems, ...policy });
    open.rejudge(identity.trust);
    endRefused();
  });
  const timer = setInterval(endRefused, DATES_MS).unref();
  server.once('close', () => {
    unsubscribe();
    clearInterval(timer);
  });
}
