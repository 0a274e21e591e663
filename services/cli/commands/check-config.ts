import { join } from 'node:path';
import { findMethod } from '#common/catalogue/methods.ts';
import { loadNodeFiles } from '#common/config/load.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { checkCertificateDates } from '#common/tls/node-certificates.ts';

/** Checks each folder's two files; says all that is wrong, and fails if anything is. */
export async function runCheckConfig(folders: string[]): Promise<void> {
  let bad = 0;
  for (const folder of folders) {
    try {
      const { config, peers } = loadNodeFiles(
        join(folder, 'config.json'),
        join(folder, 'trusted_peers_info.json'),
      );
      const { default_method: method } = config.listeners.json;
      if (!findMethod(method))
        throw new KeyweaveError('BAD_CONFIG', `listeners.json.default_method: unknown method ${method}`);
      const { error, warnings } = checkCertificateDates(config, SERVICE_NAMES);
      for (const warning of warnings) process.stdout.write(`${folder}: warning: ${warning}\n`);
      if (error !== undefined) throw new KeyweaveError('BAD_CONFIG', error);
      const others = Object.keys(peers).filter((uuid) => uuid !== config.uuid);
      process.stdout.write(`${folder}: ok, node ${config.uuid} with ${others.length} peers\n`);
    } catch (error) {
      bad += 1;
      process.stdout.write(`${folder}: ${KeyweaveError.from(error).detail}\n`);
    }
  }
  if (bad > 0) process.exitCode = 1;
}
