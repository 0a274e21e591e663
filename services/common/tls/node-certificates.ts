import type { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { NodeConfig } from '#common/config/node-config.ts';
import { systemClock } from '#common/time/clock.ts';
import {
  type DatedCertificate,
  datedCertificate,
  dateProblem,
  dateStateOf,
  dateText,
} from '#common/tls/certificate-dates.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { readCertificates, readTrust } from '#common/tls/trust.ts';

/**
 * The certificates in the files of a node that its services present or must
 * accept. Files that are not there, or cannot be read, are left to those who
 * need them.
 */
export function nodeCertificates(config: NodeConfig, services: readonly string[]): DatedCertificate[] {
  const { cert_authority_path: caPath } = config.certificate_config;
  const trust = orNothing(caPath, () => readTrust(caPath));
  /** What is of no CA here leaves open which of them is needed. */
  const issuers = new Set<X509Certificate | undefined>();
  const own = services.flatMap((service) => {
    const { certPath } = certificateFiles(config, service);
    const certificate = orNothing(certPath, () => firstOf(certPath));
    if (!certificate) return [];
    issuers.add(trust?.issuerOf(certificate));
    return [datedCertificate(certificate, { kind: 'own', path: certPath, needed: true })];
  });
  const cas = (trust?.cas ?? []).map((ca) =>
    datedCertificate(ca, {
      kind: 'ca',
      path: caPath,
      needed: issuers.size === 0 || issuers.has(undefined) || issuers.has(ca),
    }),
  );
  return [...own, ...cas, ...(services.includes('qkd-source') ? keyManagerCertificates(config) : [])];
}

/** Those of `qkd.tls`: what the qkd-source shows to the key manager, and the CA that must have issued the key manager's. */
export function keyManagerCertificates({ qkd }: NodeConfig): DatedCertificate[] {
  const { ca_path: caPath, cert_path: certPath } = qkd.tls ?? {};
  const cas = caPath === undefined ? [] : (orNothing(caPath, () => readCertificates(readText(caPath))) ?? []);
  // Any of them may be the one: the file is out of date when the last of them is.
  const [last] = cas.toSorted((a, b) => b.validToDate.getTime() - a.validToDate.getTime());
  const own = certPath === undefined ? undefined : orNothing(certPath, () => firstOf(certPath));
  return [
    ...(own ? [datedCertificate(own, { kind: 'own', path: certPath ?? '', needed: true })] : []),
    ...(last ? [datedCertificate(last, { kind: 'ca', path: caPath ?? '', needed: true })] : []),
  ];
}

/**
 * What the dates of a node's certificates say against starting it, and what
 * its operator should do soon.
 */
export function checkCertificateDates(
  config: NodeConfig,
  services: readonly string[],
): { error: string | undefined; warnings: string[] } {
  const certificates = nodeCertificates(config, services);
  const wallMs = systemClock.wallMs();
  const ending = certificates.filter((certificate) =>
    ['ending', 'last-day'].includes(dateStateOf(certificate, wallMs)),
  );
  return {
    error: dateProblem(certificates, wallMs),
    warnings: ending.map(
      ({ path, who, notAfterMs }) => `${path}: the certificate of ${who} ends on ${dateText(notAfterMs)}`,
    ),
  };
}

const firstOf = (path: string) => readCertificates(readText(path))[0];
const readText = (path: string) => readFileSync(path, 'latin1');

function orNothing<T>(path: string, act: () => T): T | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return act();
  } catch {
    return undefined;
  }
}
