import { parseArgs } from 'node:util';
import { failureText } from '#common/errors/system-error.ts';
import { runService } from './commands/service.ts';
import { exitCodeOf } from './ending/exit-codes.ts';

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
    // The supervisor has been told and says it once; what it cannot hear any more is said here.
    if (!process.connected) process.stderr.write(`keyweave: ${failureText(error)}\n`);
    process.exit(exitCodeOf(error));
  }
}
