import type { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { type NodeConfig, SERVICE_NAMES } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { DAY_MS } from '#common/time/durations.ts';
import { type DateState, dateStateOf, dateText, whoOf } from '#common/tls/certificate-dates.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { readCertificates, readTrust, type Trust } from '#common/tls/trust.ts';
import { serialOf } from '#common/tls/x509/revocation-list.ts';

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/** One certificate, for people and for monitors. */
export interface InventoryEntry {
  readonly path: string;
  /** The URI that names its owner, or the subject. */
  readonly who: string;
  /** What it may be used for. */
  readonly use: 'CA' | 'server and client' | 'client' | 'server' | 'any';
  readonly from: string;
  readonly until: string;
  /** Whole days; below 0 once it is over. */
  readonly daysLeft: number;
  /** revoked goes before whatever the dates say. */
  readonly state: DateState | 'revoked';
  /** In hex, as `certs revoke` writes it. */
  readonly serial: string;
  readonly issuer: string;
  /** Serial number of the CA in the trust file that has issued it; absent where none has, or there is no trust file. */
  readonly ca?: string;
}

/**
 * The certificates of a node: its CAs, those of its services and tools, and
 * those towards the key manager, as far as the files are there.
 *
 * @throws KeyweaveError BAD_CONFIG naming a file that cannot be read.
 */
export function nodeInventory(config: NodeConfig): InventoryEntry[] {
  const { cert_authority_path: caPath, crl_path: crlPath } = config.certificate_config;
  const trust = naming(() => readTrust(caPath, crlPath));
  const own = [...SERVICE_NAMES, 'tool'].map((service) => certificateFiles(config, service).certPath);
  const { ca_path: kmeCa, cert_path: kmeCert } = config.qkd.tls ?? {};
  const others = [kmeCert, kmeCa].filter((path) => path !== undefined);
  return [caPath, ...own, ...others]
    .filter((path) => existsSync(path))
    .flatMap((path) => certificatesIn(path).map((certificate) => entryOf(path, certificate, trust)));
}

/** Every certificate of some PEM files. @throws KeyweaveError BAD_CONFIG */
export function fileInventory(paths: readonly string[]): InventoryEntry[] {
  return paths.flatMap((path) => certificatesIn(path).map((certificate) => entryOf(path, certificate)));
}

function certificatesIn(path: string): X509Certificate[] {
  return naming(() => readCertificates(readFileSync(path, 'latin1')), path);
}

function entryOf(path: string, certificate: X509Certificate, trust?: Trust): InventoryEntry {
  const ca = trust?.issuerOf(certificate);
  const wallMs = systemClock.wallMs();
  const notBeforeMs = certificate.validFromDate.getTime();
  const notAfterMs = certificate.validToDate.getTime();
  return {
    path,
    who: whoOf(certificate),
    use: useOf(certificate),
    from: dateText(notBeforeMs),
    until: dateText(notAfterMs),
    daysLeft: Math.floor((notAfterMs - wallMs) / DAY_MS),
    state: trust?.judge(certificate).isRevoked ? 'revoked' : dateStateOf({ notBeforeMs, notAfterMs }, wallMs),
    serial: serialOf(certificate),
    issuer: certificate.issuer.replaceAll('\n', ', '),
    ...(ca && { ca: serialOf(ca) }),
  };
}

function useOf(certificate: X509Certificate): InventoryEntry['use'] {
  if (certificate.ca) return 'CA';
  const [server, client] = [SERVER_AUTH, CLIENT_AUTH].map((usage) => certificate.keyUsage?.includes(usage));
  if (server && client) return 'server and client';
  if (client) return 'client';
  return server ? 'server' : 'any';
}

function naming<T>(act: () => T, path?: string): T {
  try {
    return act();
  } catch (cause) {
    const { message } = cause as Error;
    throw new KeyweaveError('BAD_CONFIG', path === undefined ? message : `${path}: ${message}`, { cause });
  }
}
