import { createPrivateKey, X509Certificate } from 'node:crypto';
import { accessSync, constants, existsSync, lstatSync, readFileSync, type Stats, statSync } from 'node:fs';
import { dirname, isAbsolute, resolve } from 'node:path';
import { mustBeIssued } from '#certs/ensure.ts';
import type { Fault } from '#common/config/fields.ts';
import type { NodeConfig, ServiceName } from '#common/config/node-config.ts';
import { readPsk } from '#common/crypto/psk-file.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemCodeInWords, systemCodeOf } from '#common/errors/system-error.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { readCertificates, readTrust } from '#common/tls/trust.ts';

/** What is wrong with the files and folders that config.json names, for the services that run here. Looks, and writes nothing. */
export function namedFileFaults(config: NodeConfig, services: readonly ServiceName[]): Fault[] {
  const faults = [...certificateFaults(config, services), ...logFileFaults(config.logging_config)];
  if (services.includes('qkd-source')) faults.push(...tlsFaults(['qkd', 'tls'], config.qkd.tls));
  if (services.includes('gateway'))
    faults.push(...clientCaFaults(config.listeners), ...pskFaults(config.listeners));
  const { otlp, audit } = config.telemetry ?? {};
  faults.push(...tlsFaults(['telemetry', 'otlp'], otlp));
  if (services.includes('gateway') && audit)
    faults.push(...writableFaults(['telemetry', 'audit', 'filename'], audit.filename));
  return faults;
}

function certificateFaults(config: NodeConfig, services: readonly ServiceName[]): Fault[] {
  const { cert_authority_path: caPath, crl_path: crlPath } = config.certificate_config;
  const ca = problemOf(() => casIn(caPath));
  if (ca !== undefined) {
    const advice = existsSync(caPath) ? '' : `; make a CA with 'keyweave certs ca --out ${dirname(caPath)}'`;
    return [{ path: ['certificate_config', 'cert_authority_path'], message: `${ca}${advice}` }];
  }
  const faults: Fault[] = [];
  const crl = crlPath === undefined ? undefined : problemOf(() => assertListsOf(caPath, crlPath));
  if (crl !== undefined) faults.push({ path: ['certificate_config', 'crl_path'], message: crl });
  /** Services by what is wrong with them, which is often the same. */
  const troubled = new Map<string, ServiceName[]>();
  for (const service of services) {
    const problem = problemOf(() => {
      if (!mustBeIssued(config, service)) return;
      const { certPath, keyPath } = certificateFiles(config, service);
      for (const path of new Set([dirname(certPath), dirname(keyPath)])) assertFolderCanBeHad(path);
    });
    if (problem !== undefined) troubled.set(problem, [...(troubled.get(problem) ?? []), service]);
  }
  for (const [problem, names] of troubled) {
    const message = `${names.join(', ')}: ${problem}`;
    faults.push({ path: ['certificate_config', 'cert_path'], message });
  }
  return faults;
}

function logFileFaults({ file_log_type: type, filename }: NodeConfig['logging_config']): Fault[] {
  if (type === 'none' || filename === undefined) return [];
  return writableFaults(['logging_config', 'filename'], filename);
}

/** A file that lines are appended to, and that is made where there is none. */
function writableFaults(key: readonly string[], filename: string): Fault[] {
  const problem = problemOf(() => {
    const stat = statOf(filename);
    if (stat?.isDirectory()) throw bad(`${filename} is a folder, not a file`);
    if (stat) accessSync(filename, constants.W_OK);
    else assertFolderCanBeHad(dirname(filename));
  });
  return problem === undefined ? [] : [{ path: key, message: problem }];
}

/** The files of the CAs whose clients a listener lets in. */
function clientCaFaults(listeners: NodeConfig['listeners']): Fault[] {
  return Object.entries(listeners).flatMap(([name, settings]) => {
    const path = settings !== undefined && 'client_ca_path' in settings ? settings.client_ca_path : undefined;
    const message = path === undefined ? undefined : problemOf(() => casIn(path));
    return message === undefined ? [] : [{ path: ['listeners', name, 'client_ca_path'], message }];
  });
}

/** The files of pre-shared keys. */
function pskFaults({ skip }: NodeConfig['listeners']): Fault[] {
  return Object.entries(skip?.psk?.identities ?? {}).flatMap(([identity, { path }]) => {
    const message = problemOf(() => readPsk(path).wipe());
    const at = ['listeners', 'skip', 'psk', 'identities', identity, 'path'];
    return message === undefined ? [] : [{ path: at, message }];
  });
}

interface TlsFiles {
  readonly ca_path?: string | undefined;
  readonly cert_path?: string | undefined;
  readonly key_path?: string | undefined;
}

function tlsFaults(section: readonly string[], tls: TlsFiles | undefined): Fault[] {
  if (!tls) return [];
  const { ca_path, cert_path, key_path } = tls;
  const faults: Fault[] = [];
  const note = (key: string, look: () => void) => {
    const message = problemOf(look);
    if (message !== undefined) faults.push({ path: [...section, key], message });
  };
  if (ca_path !== undefined) note('ca_path', () => casIn(ca_path));
  if (cert_path !== undefined) note('cert_path', () => certificateIn(cert_path));
  if (cert_path === undefined || key_path === undefined || faults.length > 0) return faults;
  note('key_path', () => {
    const key = keyIn(key_path);
    if (!certificateIn(cert_path).checkPrivateKey(key))
      throw bad(`${key_path} does not belong to ${cert_path}`);
  });
  return faults;
}

/** Whether a folder is there to be written to, or can be made. @throws where not */
function assertFolderCanBeHad(folder: string): void {
  const path = resolve(folder);
  const stat = statOf(path);
  if (!stat && dirname(path) !== path) {
    assertFolderCanBeHad(dirname(path));
    return;
  }
  if (!stat?.isDirectory()) throw bad(`${path} is no folder`);
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw bad(`nothing can be written in ${path}: ${systemCodeInWords(systemCodeOf(error) ?? '')}`);
  }
}

/** What is at a path; undefined where nothing is. @throws for a link to nowhere, in whose place nothing can be made */
function statOf(path: string): Stats | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat && lstatSync(path, { throwIfNoEntry: false })) throw bad(`${path} is a link to nowhere`);
  return stat;
}

function casIn(path: string): X509Certificate[] {
  const pem = readFileSync(path, 'latin1');
  try {
    return readCertificates(pem);
  } catch (error) {
    throw bad(`${path}: ${(error as Error).message}`);
  }
}

/** That a file holds revocation lists, and those of the CAs are signed by them. @throws where not */
function assertListsOf(caPath: string, crlPath: string): void {
  accessSync(crlPath, constants.R_OK);
  try {
    readTrust(caPath, crlPath);
  } catch (error) {
    throw bad((error as Error).message);
  }
}

function certificateIn(path: string): X509Certificate {
  const pem = readFileSync(path);
  try {
    return new X509Certificate(pem);
  } catch {
    throw bad(`${path} is not a PEM certificate`);
  }
}

function keyIn(path: string) {
  const pem = readFileSync(path);
  try {
    return createPrivateKey(pem);
  } catch {
    throw bad(`${path} is not a PEM private key`);
  }
}

/** What a look at files finds wrong, in words. */
function problemOf(look: () => unknown): string | undefined {
  try {
    look();
    return undefined;
  } catch (error) {
    if (error instanceof KeyweaveError) return error.detail;
    const { path = '' } = error as NodeJS.ErrnoException;
    const from = isAbsolute(path) ? '' : `; relative paths count from ${process.cwd()}`;
    return `${path}: ${systemCodeInWords(systemCodeOf(error) ?? String(error))}${from}`;
  }
}

function bad(detail: string): KeyweaveError {
  return new KeyweaveError('BAD_CONFIG', detail);
}
