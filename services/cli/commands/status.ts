import { isReason, type KeyweaveError } from '#common/errors/keyweave-error.ts';
import { look } from '#common/status/look.ts';
import { type Look, nodeStatus } from '#common/status/node-status.ts';
import { parseAddress } from '../address.ts';
import { statusText } from '../status/print-status.ts';

/** Between two looks; metrics are collected once a second at most. */
const INTERVAL_MS = 2_000;
const CLEAR_SCREEN = '\x1b[2J\x1b[H';

export interface StatusOptions {
  /** Health ports. */
  readonly address?: readonly string[];
  readonly json?: boolean;
  readonly watch?: boolean;
}

/** Prints what a running node tells of itself, once or again and again until Ctrl-C. */
export async function runStatus(options: StatusOptions): Promise<void> {
  const addresses = (options.address ?? []).map((text) => parseAddress(text));
  const show = ({ earlier, later }: { earlier: Look; later: Look }) => {
    const status = nodeStatus(earlier, later);
    if (options.json) return `${JSON.stringify(status, undefined, options.watch ? 0 : 2)}\n`;
    return `${options.watch && process.stdout.isTTY ? CLEAR_SCREEN : ''}${statusText(status)}`;
  };
  let earlier = await look(addresses);
  do {
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    try {
      const later = await look(addresses);
      process.stdout.write(show({ earlier, later }));
      earlier = later;
    } catch (error) {
      // Whoever watches waits for a node that is started again.
      if (!options.watch || !isReason(error, 'SERVICE_UNAVAILABLE')) throw error;
      process.stderr.write(`${(error as KeyweaveError).detail}\n`);
    }
  } while (options.watch);
}
