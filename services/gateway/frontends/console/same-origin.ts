import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { isLoopback } from '#common/net/same-host.ts';
import type { Refusal } from '../http/answers.ts';

/**
 * Keeps pages of others out, whose scripts a browser on this machine may run.
 * A name of theirs that DNS points at this machine stands in the header Host
 * (DNS rebinding); where they are from stands in Origin.
 *
 * @param scheme what the console is reached by; by http, only under names of this machine itself.
 */
export function foreignRequest(
  { headers: { host = '', origin } }: Pick<IncomingMessage, 'headers'>,
  scheme: 'http' | 'https',
): Refusal | undefined {
  if (scheme === 'http' && !isOwnName(host))
    return { code: 421, message: 'the console is at localhost, or at an address of loopback', ends: true };
  if (origin !== undefined && origin !== `${scheme}://${host}`)
    return { code: 403, message: 'the console is for its own page', ends: true };
  return undefined;
}

/** Whether a Host is this machine as it calls itself; a tunnel may lead to it from another port. */
function isOwnName(host: string): boolean {
  const [, name = ''] = /^(\[[\da-f:]+\]|[\w.-]+)(?::\d{1,5})?$/i.exec(host) ?? [];
  if (name.toLowerCase() === 'localhost') return true;
  const address = name.replace(/^\[|\]$/g, '');
  return isIP(address) !== 0 && isLoopback(address);
}
