import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';
import { watchFiles } from '#common/config/watch-files.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { systemClock } from '#common/time/clock.ts';
import {
  type DatedCertificate,
  datedCertificate,
  datedList,
  dateText,
} from '#common/tls/certificate-dates.ts';
import type { CertificateFiles } from '#common/tls/certificate-files.ts';
import { GROUP, SpiffeChannelCredentials } from '#common/tls/channel-credentials.ts';
import { OpenConnections } from '#common/tls/open-connections.ts';
import { ReloadableServerCredentials } from '#common/tls/server-credentials.ts';
import { spiffeIdOfCertificate } from '#common/tls/spiffe.ts';
import { readTrust, type Trust } from '#common/tls/trust.ts';

const HANDSHAKE_LIMIT_MS = 5_000;
/** How long connections to servers stay when the CA that issued their certificate is removed: all are being made anew, and calls may be under way. */
const SPARE_MS = 30_000;
/** How often connections that stand are held against the dates. */
const DATES_MS = 2_000;

/** One service's certificate and key, and what it trusts, reloaded when the files change. */
export interface TlsIdentity {
  /** The SPIFFE URI of the own certificate. */
  readonly spiffeId: string;
  /** End of validity of the certificate in use, milliseconds since the epoch. */
  readonly notAfterMs: number;
  /** What certificates of others are held against; another object after each change. */
  readonly trust: Trust;
  /** The pair in use and the CAs, as PEM, for a TLS context. */
  readonly pems: Pick<SecureContextOptions, 'ca' | 'cert' | 'key'>;
  /** The certificates in use that the service presents or must accept, and the revocation lists. */
  certificates(): readonly DatedCertificate[];
  /** mTLS for a gRPC server: TLS 1.3, X25519MLKEM768 only, client certificate required. */
  serverCredentials(): ServerCredentials;
  /** mTLS towards the server whose certificate carries exactly `spiffeId`. */
  channelCredentials(spiffeId: string): ChannelCredentials;
  /** Calls `listener` after each reload, until what it gives is called. */
  onChange(listener: () => void): () => void;
  close(): void;
}

interface Material {
  readonly context: SecureContextOptions;
  readonly certificate: X509Certificate;
  readonly spiffeId: string;
  readonly trust: Trust;
  readonly dated: readonly DatedCertificate[];
}

export interface TlsIdentityOptions extends CertificateFiles {
  log: Log;
  /** How often the files are looked at. */
  pollMs?: number;
  /** How long a handshake may take, at either end. */
  handshakeLimitMs?: number;
  /** Told which key exchange a server has chosen, at every connection to one. */
  onHandshake?: ((group: string | undefined) => void) | undefined;
}

/**
 * Loads a service's identity and keeps it fresh. A new set of files is checked
 * as a whole before it is used; until it is sound the old one stays.
 *
 * @throws KeyweaveError BAD_CONFIG when the first set is not usable.
 */
export function loadTlsIdentity(options: TlsIdentityOptions): TlsIdentity {
  const { caPath, certPath, keyPath, crlPath, log, onHandshake } = options;
  const limitMs = options.handshakeLimitMs ?? HANDSHAKE_LIMIT_MS;
  const servers = new Set<ReloadableServerCredentials>();
  const listeners = new Set<() => void>();
  const open = new OpenConnections();
  let spareUntilMs = 0;
  const paths = [caPath, certPath, keyPath, ...(crlPath === undefined ? [] : [crlPath])];

  const files = watchFiles(paths, reload, options.pollMs);
  let material: Material;
  try {
    material = load(options);
  } catch (error) {
    files.close();
    throw error;
  }
  const dates = setInterval(endRefused, DATES_MS);
  dates.unref();

  function reload(again: boolean): boolean {
    try {
      material = load(options);
    } catch (error) {
      if (again)
        log.warning('the new certificate is not usable, the old one stays', { path: certPath }, error);
      return false;
    }
    for (const server of servers) server.reload(material.context);
    log.info('certificate reloaded', {
      path: certPath,
      spiffeId: material.spiffeId,
      until: dateText(material.certificate.validToDate.getTime()),
      cas: material.trust.cas.length,
      revoked: crlPath === undefined ? undefined : countRevoked(material.trust),
    });
    open.rejudge(material.trust);
    spareUntilMs = systemClock.monotonicMs() + SPARE_MS;
    endRefused();
    for (const listener of listeners) listener();
    return true;
  }

  /** Connections to servers: those of clients are held against it at every call. */
  function endRefused(): void {
    const spareUnknown = systemClock.monotonicMs() < spareUntilMs;
    open.endRefused(
      systemClock.wallMs(),
      (socket, why) => {
        log.warning('a connection was ended', { to: socket.remoteAddress, reason: why });
        socket.destroy(new Error(why));
      },
      { spareUnknown },
    );
  }

  return {
    get spiffeId() {
      return material.spiffeId;
    },
    get notAfterMs() {
      return material.certificate.validToDate.getTime();
    },
    get trust() {
      return material.trust;
    },
    get pems() {
      const { ca, cert, key } = material.context;
      return { ca, cert, key };
    },
    certificates: () => material.dated,
    serverCredentials: () => {
      const credentials = new ReloadableServerCredentials(material.context, limitMs);
      servers.add(credentials);
      return credentials;
    },
    channelCredentials: (spiffeId) =>
      new SpiffeChannelCredentials(spiffeId, { side: () => material, open, limitMs, onHandshake }),
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    close: () => {
      files.close();
      clearInterval(dates);
    },
  };
}

function load({ caPath, certPath, keyPath, crlPath }: CertificateFiles): Material {
  let trust: Trust;
  try {
    trust = readTrust(caPath, crlPath);
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', (cause as Error).message, { cause });
  }
  try {
    const [cert, key] = [readFileSync(certPath), readFileSync(keyPath)];
    const certificate = new X509Certificate(cert);
    if (!certificate.checkPrivateKey(createPrivateKey(key)))
      throw new Error('key and certificate do not match');
    const spiffeId = spiffeIdOfCertificate(certificate);
    if (spiffeId === undefined) throw new Error('the certificate carries no SPIFFE id of ours');
    const context = { ca: trust.pem, cert, key, minVersion: 'TLSv1.3' as const, ecdhCurve: GROUP };
    createSecureContext(context);
    const issuer = trust.issuerOf(certificate);
    const dated = [
      datedCertificate(certificate, { kind: 'own', path: certPath, needed: true }),
      ...trust.cas.map((ca) =>
        datedCertificate(ca, { kind: 'ca', path: caPath, needed: !issuer || issuer === ca }),
      ),
      ...trust.lists.flatMap(({ ca, list }) => datedList(crlPath ?? '', ca, list)),
    ];
    return { context, certificate, spiffeId, trust, dated };
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${certPath}: ${(cause as Error).message}`, { cause });
  }
}

function countRevoked({ lists }: Trust): number {
  return lists.reduce((sum, { list }) => sum + list.serials.size, 0);
}
