import { statSync } from 'node:fs';
import { join } from 'node:path';
import { accessWarnings } from '#common/config/access/access-rules.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { checkCertificateDates } from '#common/tls/node-certificates.ts';
import { EXIT } from '../ending/exit-codes.ts';
import { judgeNode, type NodeToJudge } from '../node-files/judge-node.ts';
import { parseServiceName } from '../node-files/service-name.ts';

/** Checks folders, and the two files where they are named; says all that is wrong on stderr, and fails if anything is. */
export function runCheckConfig(
  folders: string[],
  options: { config?: string; peers?: string; service?: string; elsewhere?: boolean },
): void {
  const service =
    options.service === undefined ? undefined : parseServiceName(options.service, SERVICE_NAMES);
  const nodes: [name: string, files: Pick<NodeToJudge, 'config' | 'peers'>][] = folders.map((folder) => {
    if (statSync(folder, { throwIfNoEntry: false })?.isFile())
      throw new KeyweaveError('BAD_REQUEST', `${folder} is a file: name it with --config or --peers, both`);
    return [folder, { config: join(folder, 'config.json'), peers: join(folder, 'trusted_peers_info.json') }];
  });
  const { config, peers } = options;
  if ((config === undefined) !== (peers === undefined))
    throw new KeyweaveError('BAD_REQUEST', '--config and --peers go together: each is judged by the other');
  if (config !== undefined && peers !== undefined) nodes.push([config, { config, peers }]);
  if (nodes.length === 0)
    throw new KeyweaveError('BAD_REQUEST', 'name folders to check, or files with --config and --peers');

  for (const [name, files] of nodes) {
    const elsewhere = options.elsewhere ?? false;
    const { files: sound, problems } = judgeNode({ ...files, ...(service && { service }), elsewhere });
    const { error, warnings } =
      sound && !elsewhere
        ? checkCertificateDates(sound.config, service ? [service] : SERVICE_NAMES)
        : { error: undefined, warnings: [] };
    const ofAccess = sound && (service ?? 'gateway') === 'gateway' ? accessWarnings(sound.config) : [];
    for (const warning of [...warnings, ...ofAccess]) process.stdout.write(`${name}: warning: ${warning}\n`);
    const faults = error === undefined ? problems : [...problems, error];
    if (faults.length > 0 || !sound) {
      process.stderr.write(`${faults.join('\n')}\n`);
      process.exitCode = EXIT.FILES;
      continue;
    }
    const { uuid } = sound.config;
    const others = Object.keys(sound.peers).filter((peer) => peer !== uuid).length;
    process.stdout.write(`${name}: ok, node ${uuid} with ${others} peers\n`);
  }
}
