import { parseArgs } from 'node:util';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { runService } from './commands/service.ts';

/**
 * What the supervisor starts: `keyweave service` without the command line's
 * library, which five processes a node would each keep in memory.
 */
if (process.send) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { config: { type: 'string' }, peers: { type: 'string' }, addresses: { type: 'string' } },
  });
  try {
    const { config = '', peers = '', addresses = '{}' } = values;
    await runService(positionals[0] ?? '', { config, peers, addresses });
  } catch (error) {
    const text =
      error instanceof KeyweaveError ? error.detail : error instanceof Error ? error.stack : String(error);
    process.stderr.write(`keyweave: ${text}\n`);
    process.exit(1);
  }
}
