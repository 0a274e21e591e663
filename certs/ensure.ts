import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { isSubnet } from '#common/net/own-address.ts';
import { systemClock } from '#common/time/clock.ts';
import { DAY_MS } from '#common/time/durations.ts';
import { datedCertificate, dateProblem, dateText } from '#common/tls/certificate-dates.ts';
import { caKeyPath, certificateFiles } from '#common/tls/certificate-files.ts';
import { spiffeId, spiffeIdOfCertificate } from '#common/tls/spiffe.ts';
import { hasCaKey, type IssuingCa, readCas, readIssuingCa } from './ca-key.ts';
import { isDue, issuerAmong, lifeOf, newEndOf } from './life.ts';
import { readText } from './read-text.ts';

/** Life of certificates that a node issues for itself. */
export const DEFAULT_CERTIFICATE_DAYS = 90;

/**
 * Makes sure that each of `services` has a certificate that it can serve with.
 * Missing ones are issued when the CA's key lies beside the CA's certificate,
 * as in the reference, and those near their end are renewed.
 *
 * @throws KeyweaveError BAD_CONFIG naming the file, what is wrong with it and what to do.
 */
export async function ensureNodeCertificates(
  config: NodeConfig,
  services: readonly string[],
  log: Pick<Log, 'info'>,
): Promise<void> {
  const { cert_authority_path: caPath } = config.certificate_config;
  for (const service of services) {
    if (mustBeIssued(config, service)) {
      await issueFor(config, service, DEFAULT_CERTIFICATE_DAYS);
      log.info('issued a certificate', { service, path: certificateFiles(config, service).certPath });
      continue;
    }
    if (hasCaKey(caPath)) await renewIfPossible(config, service, log);
    checkDates(config, service, readCas(caPath));
  }
}

/**
 * Whether a service has no certificate yet and this node can issue one. Looks
 * at the files only, and not at dates: what is over may be renewed.
 *
 * @throws KeyweaveError BAD_CONFIG for a certificate that is not of this service, or that is missing and cannot be issued here.
 */
export function mustBeIssued(config: NodeConfig, service: string): boolean {
  const { cert_authority_path: caPath } = config.certificate_config;
  const cas = readCas(caPath);
  const { certPath, keyPath } = certificateFiles(config, service);
  const missing = [certPath, keyPath].filter((path) => !existsSync(path));
  if (missing.length === 0) checkOwner(config, service, cas);
  else if (missing.length === 1 || !hasCaKey(caPath)) throw missingError(missing, caPath);
  else readIssuingCa(caPath);
  return missing.length > 0;
}

/** A certificate that is still good is no reason not to start: where it is not, the dates say so. */
async function renewIfPossible(config: NodeConfig, service: string, log: Pick<Log, 'info'>): Promise<void> {
  try {
    await renewWhereDue(config, [service], log);
  } catch (error) {
    log.info('a certificate could not be renewed', { service }, error);
  }
}

/**
 * Renews those of the services' certificates that have a third of their life
 * left or less, with the key beside the CA, each for as long as it had. What is
 * missing is left alone.
 *
 * @throws KeyweaveError BAD_CONFIG where the CA or its key cannot be read; what writing throws.
 */
export async function renewWhereDue(
  config: NodeConfig,
  services: readonly string[],
  log: Pick<Log, 'info'>,
  wallMs: number = systemClock.wallMs(),
): Promise<void> {
  const { cert_authority_path: caPath } = config.certificate_config;
  const cas = readCas(caPath);
  let ca: IssuingCa | undefined;
  for (const service of services) {
    const { certPath, keyPath } = certificateFiles(config, service);
    if (!existsSync(certPath) || !existsSync(keyPath)) continue;
    const certificate = new X509Certificate(readFileSync(certPath));
    const life = lifeOf(certificate, cas);
    if (!isDue(life, wallMs)) continue;
    ca ??= readIssuingCa(caPath);
    const newEndMs = newEndOf(life, ca.parsed, wallMs);
    if (newEndMs === undefined) continue;
    await issueFor(config, service, life.ownMs / DAY_MS);
    log.info('renewed a certificate', { service, path: certPath, until: dateText(newEndMs) });
  }
}

/**
 * Issues one service's certificate with the CA's key and writes both files,
 * the key readable by its owner only unless `keyMode` says otherwise.
 *
 * @param caKey by default the key beside the CA's certificate.
 */
export async function issueFor(
  config: NodeConfig,
  service: string,
  days: number,
  { keyMode = 0o600, caKey }: { keyMode?: number; caKey?: string | undefined } = {},
): Promise<void> {
  const { cert_authority_path: caPath, network, certificate_ip } = config.certificate_config;
  const ca = readIssuingCa(caPath, caKey);
  // Loaded only here: a service that finds its certificate need not carry the issuer in memory.
  const { issueServiceCertificate } = await import('./issue.ts');
  const issued = await issueServiceCertificate({
    ca,
    network,
    nodeUuid: config.uuid,
    service,
    names: namesOf(config, service, certificate_ip),
    days,
  });
  const { certPath, keyPath } = certificateFiles(config, service);
  const isNew = !existsSync(keyPath);
  writeAtomically(keyPath, issued.key, keyMode);
  try {
    writeAtomically(certPath, issued.certificate, 0o644);
  } catch (error) {
    // A key without a certificate would keep the next start from issuing both.
    if (isNew) rmSync(keyPath, { force: true });
    throw error;
  }
}

/** Replaces a file in one step, so that no reader ever sees half of it; makes the folder where needed. */
export function writeAtomically(path: string, content: string, mode: number): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, content, { mode });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function namesOf(config: NodeConfig, service: string, certificateIp: string): string[] {
  const own = config.services[service as keyof NodeConfig['services']]?.address?.host;
  const edge = service === 'peer-broker' ? config.peer_local_address.host : undefined;
  const apps = service === 'gateway' ? applicationHosts(config) : [];
  const names = [certificateIp, own, edge, ...apps].filter((name) => name !== undefined);
  return names.filter((name) => !isSubnet(name));
}

/** Where applications and operators dial the gateway. */
function applicationHosts({ hybridization_server_address: json, listeners }: NodeConfig): string[] {
  const { binary, grpc, rest, skip, console } = listeners;
  const hosts = [json, binary, grpc, rest, skip, console].flatMap((listener) => listener?.host ?? []);
  return [...new Set(hosts)];
}

const ADVICE = `remove it and have it issued again with 'keyweave certs issue'`;

/** That the files are of this service of this node, belong together and are of a CA of its network. */
function checkOwner(config: NodeConfig, service: string, cas: readonly X509Certificate[]): void {
  const { certPath, keyPath, caPath } = certificateFiles(config, service);
  const certificate = parseCertificate(certPath, readText(certPath, ADVICE));
  const expected = spiffeId(config.certificate_config.network, config.uuid, service);
  const found = spiffeIdOfCertificate(certificate);
  if (found !== expected) {
    throw bad(
      `${certPath}: names ${found ?? 'nobody'}, not ${expected}; each node needs a folder of its own`,
    );
  }
  if (!issuerAmong(cas, certificate)) {
    throw bad(`${certPath}: was not issued by the CA in ${caPath}; ${ADVICE}`);
  }
  if (!certificate.checkPrivateKey(parseKey(keyPath, readText(keyPath, ADVICE)))) {
    throw bad(`${keyPath}: does not belong to ${certPath}; ${ADVICE}`);
  }
}

function checkDates(config: NodeConfig, service: string, cas: readonly X509Certificate[]): void {
  const { certPath, caPath } = certificateFiles(config, service);
  const certificate = parseCertificate(certPath, readText(certPath, ADVICE));
  const ca = issuerAmong(cas, certificate);
  const own = datedCertificate(certificate, { kind: 'own', path: certPath, needed: true });
  const issuer = ca && datedCertificate(ca, { kind: 'ca', path: caPath, needed: true });
  const problem = dateProblem(issuer ? [issuer, own] : [own], systemClock.wallMs());
  if (problem !== undefined)
    throw bad(`${problem}; have it issued again: keyweave certs renew --config <config.json>`);
}

function missingError(missing: readonly string[], caPath: string): KeyweaveError {
  return bad(
    `missing ${missing.join(' and ')}; put ${caKeyPath(caPath)} beside the CA certificate, or issue them where that key is: keyweave certs issue --config <config.json>`,
  );
}

function parseCertificate(path: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${path}: is not a PEM certificate`, { cause });
  }
}

function parseKey(path: string, pem: string) {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${path}: is not a PEM private key`, { cause });
  }
}

function bad(detail: string): KeyweaveError {
  return new KeyweaveError('BAD_CONFIG', detail);
}
