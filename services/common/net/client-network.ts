import { isIPv4, isIPv6 } from 'node:net';

const V6_GROUPS = 8;

/** The first 64 bits of an IPv6 address, four groups, are what one household or site has of its own. */
const OWN_GROUPS = 4;

/**
 * What a client cannot easily change of where it calls from, so that limits
 * hold for it: the host without the port, and of IPv6 the /64.
 *
 * @param address such as `127.0.0.1:4000`, `[::1]:4000`, `::1`, or a name; anything else stays as it is.
 */
export function clientNetwork(address: string): string {
  const host = hostOf(address).replace(/^::ffff:(?=\d+\.)/i, '');
  if (!isIPv6(host)) return host;
  const [before = '', after] = (host.split('%')[0] ?? '').split('::');
  const left = groupsOf(before);
  const right = groupsOf(after ?? '');
  const gap = after === undefined ? 0 : V6_GROUPS - left.length - right.length;
  const groups = [...left, ...Array<string>(Math.max(0, gap)).fill('0'), ...right];
  const own = groups.slice(0, OWN_GROUPS).map((group) => Number.parseInt(group, 16).toString(16));
  return `${own.join(':')}::/64`;
}

function hostOf(address: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(address);
  if (bracketed) return bracketed[1] as string;
  if (isIPv6(address)) return address;
  return address.replace(/:\d+$/, '');
}

/** The groups of one side of an IPv6 address; an IPv4 address at its end takes two. */
function groupsOf(text: string): string[] {
  return text === '' ? [] : text.split(':').flatMap((group) => (isIPv4(group) ? ['0', '0'] : [group]));
}
