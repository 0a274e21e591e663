import { BlockList, isIP } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

type Interfaces = NodeJS.Dict<NetworkInterfaceInfo[]>;

/**
 * The host to bind to. A subnet such as `10.10.21.0/24` stands for the own
 * address in it: a container learns its addresses only when it starts, and one
 * that stands in two networks must not serve the inner one's ports to the
 * outer. Anything else is taken as it is.
 *
 * @throws KeyweaveError BAD_CONFIG when this machine has no address in the subnet.
 */
export function ownAddress(host: string, interfaces: () => Interfaces = networkInterfaces): string {
  const subnet = parseSubnet(host);
  if (!subnet) return host;
  const all = Object.values(interfaces()).flatMap((infos) => infos ?? []);
  const own = all.find(({ address, family }) => subnet.check(address, family === 'IPv6' ? 'ipv6' : 'ipv4'));
  if (!own) throw new KeyweaveError('BAD_CONFIG', `this machine has no address in ${host}`);
  return own.address;
}

/** Whether `host` is a subnet rather than a name or an address. */
export function isSubnet(host: string): boolean {
  return parseSubnet(host) !== undefined;
}

/** Whether an IP address lies in a subnet. */
export function isWithin(subnet: string, address: string): boolean {
  return parseSubnet(subnet)?.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4') ?? false;
}

function parseSubnet(host: string): BlockList | undefined {
  const [network = '', bits = '', ...rest] = host.split('/');
  const family = isIP(network);
  if (family === 0 || rest.length > 0 || !/^\d{1,3}$/.test(bits)) return undefined;
  if (Number(bits) > (family === 6 ? 128 : 32)) return undefined;
  const subnet = new BlockList();
  subnet.addSubnet(network, Number(bits), family === 6 ? 'ipv6' : 'ipv4');
  return subnet;
}
