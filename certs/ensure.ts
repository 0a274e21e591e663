import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemCodeInWords, systemCodeOf } from '#common/errors/system-error.ts';
import type { Log } from '#common/log/log.ts';
import { isSubnet } from '#common/net/own-address.ts';
import { systemClock } from '#common/time/clock.ts';
import { caKeyPath, certificateFiles } from '#common/tls/certificate-files.ts';
import { spiffeId, spiffeIdOfCertificate } from '#common/tls/spiffe.ts';

/** Life of certificates that a node issues for itself. */
export const DEFAULT_CERTIFICATE_DAYS = 90;

/**
 * Makes sure that each of `services` has a certificate that it can serve with.
 * Missing ones are issued when the CA's key lies beside the CA's certificate,
 * as in the reference.
 *
 * @throws KeyweaveError BAD_CONFIG naming the file, what is wrong with it and what to do.
 */
export async function ensureNodeCertificates(
  config: NodeConfig,
  services: readonly string[],
  log: Pick<Log, 'info'>,
): Promise<void> {
  for (const service of services) {
    if (!mustBeIssued(config, service)) continue;
    await issueFor(config, service, DEFAULT_CERTIFICATE_DAYS);
    log.info('issued a certificate', { service, path: certificateFiles(config, service).certPath });
  }
}

/**
 * Whether a service has no certificate yet and this node can issue one. Looks
 * at the files only.
 *
 * @throws KeyweaveError BAD_CONFIG for a certificate that the service cannot serve with, or that is missing and cannot be issued here.
 */
export function mustBeIssued(config: NodeConfig, service: string): boolean {
  const { cert_authority_path: caPath } = config.certificate_config;
  const ca = read(caPath, `make a CA with 'keyweave certs ca --out ${dirname(caPath)}'`);
  const { certPath, keyPath } = certificateFiles(config, service);
  const missing = [certPath, keyPath].filter((path) => !existsSync(path));
  if (missing.length === 0) checkCertificate(config, service, ca);
  else if (missing.length === 1 || !existsSync(caKeyPath(caPath))) throw missingError(missing, caPath);
  else checkIssuer(caPath, ca);
  return missing.length > 0;
}

function checkIssuer(caPath: string, ca: string): void {
  const keyPath = caKeyPath(caPath);
  const key = parseKey(keyPath, read(keyPath, 'it was there a moment ago'));
  if (!parseCertificate(caPath, ca).checkPrivateKey(key))
    throw bad(`${keyPath}: does not belong to ${caPath}`);
}

/** Issues one service's certificate with the CA's key and writes both files, the key readable by its owner only unless `keyMode` says otherwise. */
export async function issueFor(
  config: NodeConfig,
  service: string,
  days: number,
  keyMode = 0o600,
): Promise<void> {
  const { cert_authority_path: caPath, network, certificate_ip } = config.certificate_config;
  const advice = `make a CA with 'keyweave certs ca --out ${dirname(caPath)}'`;
  // Loaded only here: a service that finds its certificate need not carry the issuer in memory.
  const { issueServiceCertificate } = await import('./issue.ts');
  const issued = await issueServiceCertificate({
    ca: { certificate: read(caPath, advice), key: read(caKeyPath(caPath), advice) },
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
  const app = service === 'gateway' ? config.hybridization_server_address.host : undefined;
  const names = [certificateIp, own, edge, app].filter((name) => name !== undefined);
  return names.filter((name) => !isSubnet(name));
}

function checkCertificate(config: NodeConfig, service: string, caPem: string): void {
  const { certPath, keyPath } = certificateFiles(config, service);
  const advice = `remove it and have it issued again with 'keyweave certs issue'`;
  const certificate = parseCertificate(certPath, read(certPath, advice));
  const ca = parseCertificate(config.certificate_config.cert_authority_path, caPem);
  const expected = spiffeId(config.certificate_config.network, config.uuid, service);
  const found = spiffeIdOfCertificate(certificate);
  if (found !== expected) {
    throw bad(
      `${certPath}: names ${found ?? 'nobody'}, not ${expected}; each node needs a folder of its own`,
    );
  }
  if (!certificate.checkIssued(ca) || !certificate.verify(ca.publicKey)) {
    throw bad(
      `${certPath}: was not issued by the CA in ${config.certificate_config.cert_authority_path}; ${advice}`,
    );
  }
  if (certificate.validToDate.getTime() < systemClock.wallMs()) {
    throw bad(`${certPath}: expired on ${certificate.validTo}; ${advice}`);
  }
  if (!certificate.checkPrivateKey(parseKey(keyPath, read(keyPath, advice)))) {
    throw bad(`${keyPath}: does not belong to ${certPath}; ${advice}`);
  }
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

function read(path: string, advice: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const code = systemCodeOf(cause);
    const what =
      code === undefined || code === 'ENOENT'
        ? `missing ${path}; ${advice}`
        : `${path}: ${systemCodeInWords(code)}`;
    throw new KeyweaveError('BAD_CONFIG', what, { cause });
  }
}

function bad(detail: string): KeyweaveError {
  return new KeyweaveError('BAD_CONFIG', detail);
}
