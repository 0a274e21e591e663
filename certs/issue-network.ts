import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { loadConfig } from '#common/config/load.ts';
import { type NodeConfig, SERVICE_NAMES } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import { DAY_MS } from '#common/time/durations.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { readIssuingCa } from './ca-key.ts';
import { issueFor, writeAtomically } from './ensure.ts';
import { createCa, issueServerCertificate } from './issue.ts';
import { RENEWAL_SHARE } from './life.ts';

const CA_DAYS = 3_650;

export interface IssueNetworkOptions {
  /** config.json files, one a node; a node's folder is named after the folder of its file. */
  configs: readonly string[];
  /** Holds ca.crt and ca.key; the key goes nowhere else. */
  caFolder: string;
  /** Gets `<node>/<service>/` with the CA's certificate, the service's own and its key. */
  outFolder: string;
  /** Servers that are no part of a node, such as a collector, by the name that clients dial; each gets `<name>/server.{crt,key}`. */
  servers?: readonly string[];
  days: number;
  keyMode: number;
}

/**
 * Issues what is missing, near its end or of another CA, and leaves the rest
 * alone; may be repeated at any time. Gives the certificates that it wrote.
 *
 * @throws KeyweaveError BAD_CONFIG when the files name different networks or cannot be read.
 */
export async function issueNetwork(options: IssueNetworkOptions): Promise<string[]> {
  const { configs, caFolder, outFolder, servers = [], days, keyMode } = options;
  const nodes = configs.map((path) => ({ name: basename(dirname(path)), config: loadConfig(path) }));
  const ca = await ensureCa(caFolder, networkOf(nodes.map(({ config }) => config)));
  const issued: string[] = [];
  for (const { name, config } of nodes) {
    for (const service of SERVICE_NAMES) {
      const folder = join(outFolder, name, service);
      const there = placedIn(config, caFolder, folder);
      const { certPath } = certificateFiles(there, service);
      if (isGood(certificateFiles(there, service), ca, days)) continue;
      await issueFor(there, service, days, { keyMode });
      writeAtomically(join(folder, basename(config.certificate_config.cert_authority_path)), ca, 0o644);
      issued.push(certPath);
    }
  }
  for (const name of servers) {
    const folder = join(outFolder, name);
    const files = { certPath: join(folder, 'server.crt'), keyPath: join(folder, 'server.key') };
    if (isGood(files, ca, days)) continue;
    const { certificate, key } = await issueServerCertificate({
      ca: readIssuingCa(join(caFolder, 'ca.crt')),
      name,
      days,
    });
    writeAtomically(files.keyPath, key, keyMode);
    writeAtomically(files.certPath, certificate, 0o644);
    issued.push(files.certPath);
  }
  return issued;
}

function networkOf(configs: readonly NodeConfig[]): string {
  const names = new Set(configs.map((config) => config.certificate_config.network));
  const [network] = names;
  if (network === undefined || names.size > 1) {
    throw new KeyweaveError(
      'BAD_CONFIG',
      `certificate_config.network must be the same at all nodes, not ${[...names].join(', ')}`,
    );
  }
  return network;
}

/** PEM of the CA's certificate. */
async function ensureCa(folder: string, network: string): Promise<string> {
  const [certPath, keyPath] = [join(folder, 'ca.crt'), join(folder, 'ca.key')];
  if (!existsSync(certPath) || !existsSync(keyPath)) {
    const made = await createCa({ network, days: CA_DAYS });
    writeAtomically(keyPath, made.key, 0o600);
    writeAtomically(certPath, made.certificate, 0o644);
  }
  return readFileSync(certPath, 'utf8');
}

/** The configuration as if the node kept its certificates in `folder`, under the names that it gives them. */
function placedIn(config: NodeConfig, caFolder: string, folder: string): NodeConfig {
  const { cert_path, key_path } = config.certificate_config;
  return {
    ...config,
    certificate_config: {
      ...config.certificate_config,
      cert_authority_path: join(caFolder, 'ca.crt'),
      cert_path: join(folder, basename(cert_path)),
      key_path: join(folder, basename(key_path)),
    },
  };
}

function isGood(
  { certPath, keyPath }: { certPath: string; keyPath: string },
  caPem: string,
  days: number,
): boolean {
  if (!existsSync(certPath) || !existsSync(keyPath)) return false;
  const certificate = new X509Certificate(readFileSync(certPath));
  const left = certificate.validToDate.getTime() - systemClock.wallMs();
  return left > days * DAY_MS * RENEWAL_SHARE && certificate.verify(new X509Certificate(caPem).publicKey);
}
