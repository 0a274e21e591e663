import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type readCas, readIssuingCa } from '#certs/ca-key.ts';
import { issueFor, writeAtomically } from '#certs/ensure.ts';
import { fileInventory, nodeInventory } from '#certs/inventory.ts';
import { createCa, issueClientCertificate } from '#certs/issue.ts';
import { issueNetwork } from '#certs/issue-network.ts';
import { renewalReason } from '#certs/life.ts';
import { REVOCATION_REASONS, type RevocationReason, revoke } from '#certs/revoke.ts';
import { loadConfig } from '#common/config/load.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { readCertificates } from '#common/tls/trust.ts';
import { parseCount } from '../address.ts';
import { parseServiceName } from '../node-files/service-name.ts';
import { printTable } from '../table.ts';

/** What a node has certificates for; "tool" is a client of its internal ports. */
const OWNERS: readonly string[] = [...SERVICE_NAMES, 'tool'];

/** Makes a CA in a folder. */
export async function runCa(options: {
  out: string;
  days: string;
  network: string;
  force?: boolean;
}): Promise<void> {
  const files = { cert: join(options.out, 'ca.crt'), key: join(options.out, 'ca.key') };
  refuseToReplace(Object.values(files), 'every certificate hangs on them', options.force);
  const ca = await createCa({ network: options.network, days: parseCount('--days', options.days) });
  writeAtomically(files.key, ca.key, 0o600);
  writeAtomically(files.cert, ca.certificate, 0o644);
  say(`made ${files.cert} and ${files.key}; keep the key where nodes are issued, and nowhere else`);
}

interface NodeOptions {
  config: string;
  service?: string[];
  caKey?: string;
}

/** Issues a node's certificates. */
export async function runIssue(options: NodeOptions & { days: string }): Promise<void> {
  const config = loadConfig(options.config);
  for (const service of ownersOf(options.service, SERVICE_NAMES)) {
    await issueFor(config, service, parseCount('--days', options.days), { caKey: options.caKey });
    const { certPath } = certificateFiles(config, service);
    say(`issued ${certPath} (in ${dirname(certPath)})`);
  }
}

/** Issues anew what is missing, near its end, revoked, or of another CA than the one that issues now. */
export async function runRenew(options: NodeOptions & { days: string; force?: boolean }): Promise<void> {
  const config = loadConfig(options.config);
  const { cert_authority_path: caPath, crl_path: crlPath } = config.certificate_config;
  const ca = readIssuingCa(caPath, options.caKey);
  const hasTool = existsSync(certificateFiles(config, 'tool').certPath);
  for (const service of ownersOf(options.service, hasTool ? OWNERS : SERVICE_NAMES)) {
    const { certPath } = certificateFiles(config, service);
    const reason = options.force
      ? 'as asked'
      : renewalReason(certificateFiles(config, service), { ca: ca.parsed, caPath, crlPath });
    if (reason === undefined) {
      say(`${certPath} is good for a while; left as it is`);
      continue;
    }
    await issueFor(config, service, parseCount('--days', options.days), { caKey: options.caKey });
    say(`renewed ${certPath} (${reason})`);
  }
}

/** Shows certificates: who, until when, what for. Sets the exit status where one is out of date or revoked. */
export function runShow(files: string[], options: { config?: string; json?: boolean }): void {
  if (options.config === undefined && files.length === 0)
    throw new KeyweaveError('BAD_REQUEST', "nothing to show: give --config or certificates' files");
  const entries = [
    ...(options.config === undefined ? [] : nodeInventory(loadConfig(options.config))),
    ...fileInventory(files),
  ];
  if (options.json) process.stdout.write(`${JSON.stringify(entries, undefined, 2)}\n`);
  else
    printTable(
      ['who', 'use', 'until', 'days left', 'state', 'serial', 'of CA', 'file'],
      entries.map(({ who, use, until, daysLeft, state, serial, ca = '', path }) => [
        ...[who, use, until, daysLeft, state, serial, ca.slice(0, 8), path],
      ]),
    );
  if (entries.some(({ state }) => ['expired', 'not-yet', 'revoked'].includes(state))) process.exitCode = 1;
}

interface CaOptions {
  ca: string;
  caKey?: string;
}

/** Issues the certificate of an application or a tool. */
export async function runIssueClient(
  name: string,
  options: CaOptions & { out: string; network: string; days: string; force?: boolean },
): Promise<void> {
  const days = parseCount('--days', options.days);
  const ca = issuingCa(options);
  const issued = await issueClientCertificate({ ca, network: options.network, name, days });
  const [certPath, keyPath] = [join(options.out, `${name}.crt`), join(options.out, `${name}.key`)];
  refuseToReplace([certPath, keyPath], 'somebody may use them', options.force);
  writeAtomically(keyPath, issued.key, 0o600);
  writeAtomically(certPath, issued.certificate, 0o644);
  say(`issued ${certPath} and ${keyPath}; the client also needs ${join(options.ca, 'ca.crt')}`);
}

/** Revokes certificates: adds them to the CA's revocation list. */
export async function runRevoke(
  files: string[],
  options: CaOptions & { crl?: string; reason: string; days: string },
): Promise<void> {
  if (!Object.hasOwn(REVOCATION_REASONS, options.reason)) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `there is no reason ${JSON.stringify(options.reason)}; there are ${Object.keys(REVOCATION_REASONS).join(', ')}`,
    );
  }
  const crlPath = options.crl ?? join(options.ca, 'ca.crl');
  const count = revoke({
    ca: issuingCa(options),
    crlPath,
    certificates: files.map(firstCertificate),
    reason: options.reason as RevocationReason,
    days: parseCount('--days', options.days),
  });
  say(
    `${crlPath} revokes ${count} certificate${count === 1 ? '' : 's'}; put it where crl_path of every node says`,
  );
}

/** Makes what a network of containers needs: a CA where there is none, and a folder for each service. */
export async function runNetwork(
  configs: string[],
  options: { ca: string; out: string; server?: string[]; days: string; groupReadable?: boolean },
): Promise<void> {
  const issued = await issueNetwork({
    configs,
    caFolder: options.ca,
    outFolder: options.out,
    servers: options.server ?? [],
    days: parseCount('--days', options.days),
    keyMode: options.groupReadable ? 0o640 : 0o600,
  });
  for (const path of issued) say(`issued ${path}`);
  if (issued.length === 0) say('every certificate is good for a while; nothing to do');
}

function issuingCa({ ca, caKey }: CaOptions) {
  return readIssuingCa(join(ca, 'ca.crt'), caKey);
}

function ownersOf(asked: readonly string[] | undefined, otherwise: readonly string[]): readonly string[] {
  for (const service of asked ?? []) parseServiceName(service, OWNERS);
  return asked ?? otherwise;
}

function firstCertificate(path: string) {
  try {
    return readCertificates(readFileSync(path, 'latin1'))[0] as ReturnType<typeof readCas>[number];
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `${path}: ${(cause as Error).message}`, { cause });
  }
}

function refuseToReplace(paths: readonly string[], why: string, force = false): void {
  const there = paths.filter((path) => existsSync(path));
  if (there.length === 0 || force) return;
  throw new KeyweaveError('BAD_CONFIG', `${there.join(' and ')} exist; ${why}, --force replaces them`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
