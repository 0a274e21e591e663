import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { issueFor, writeAtomically } from '#certs/ensure.ts';
import { createCa } from '#certs/issue.ts';
import { issueNetwork } from '#certs/issue-network.ts';
import { loadConfig } from '#common/config/load.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { parseCount } from '../address.ts';

/** Makes a CA in a folder. */
export async function runCa(options: {
  out: string;
  days: string;
  network: string;
  force?: boolean;
}): Promise<void> {
  const files = { cert: join(options.out, 'ca.crt'), key: join(options.out, 'ca.key') };
  const there = Object.values(files).filter((path) => existsSync(path));
  if (there.length > 0 && !options.force) {
    throw new KeyweaveError(
      'BAD_CONFIG',
      `${there.join(' and ')} exist; every certificate hangs on them, --force replaces them`,
    );
  }
  const ca = await createCa({ network: options.network, days: parseCount('--days', options.days) });
  writeAtomically(files.key, ca.key, 0o600);
  writeAtomically(files.cert, ca.certificate, 0o644);
  process.stdout.write(
    `made ${files.cert} and ${files.key}; keep the key where nodes are issued, and nowhere else\n`,
  );
}

/** Issues a node's certificates. */
export async function runIssue(options: { config: string; service?: string[]; days: string }): Promise<void> {
  const config = loadConfig(options.config);
  const known = [...SERVICE_NAMES, 'tool'];
  for (const service of options.service ?? SERVICE_NAMES) {
    if (!known.includes(service)) {
      throw new KeyweaveError(
        'BAD_CONFIG',
        `there is no service ${JSON.stringify(service)}; there are ${known.join(', ')}`,
      );
    }
    await issueFor(config, service, parseCount('--days', options.days));
    const { certPath } = certificateFiles(config, service);
    process.stdout.write(`issued ${certPath} (in ${dirname(certPath)})\n`);
  }
}

/** Makes what a network of containers needs: a CA where there is none, and a folder for each service. */
export async function runNetwork(
  configs: string[],
  options: { ca: string; out: string; days: string; groupReadable?: boolean },
): Promise<void> {
  const issued = await issueNetwork({
    configs,
    caFolder: options.ca,
    outFolder: options.out,
    days: parseCount('--days', options.days),
    keyMode: options.groupReadable ? 0o640 : 0o600,
  });
  for (const path of issued) process.stdout.write(`issued ${path}\n`);
  if (issued.length === 0) process.stdout.write('every certificate is good for a while; nothing to do\n');
}
