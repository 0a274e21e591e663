import { isIP, SocketAddress } from 'node:net';
import { isSubnet, isWithin } from '#common/net/own-address.ts';

/** Whether two hosts, as configuration has them, are one; without asking DNS. */
export function sameHost(one: string, other: string): boolean {
  return canonical(one) === canonical(other);
}

/** Whether something that binds to one of two hosts is in the way of what binds to the other on the same port. */
export function hostsOverlap(one: string, other: string): boolean {
  if (isUnspecified(one) || isUnspecified(other) || sameHost(one, other)) return true;
  if (isSubnet(one) && isIP(other) !== 0) return isWithin(one, other);
  if (isSubnet(other) && isIP(one) !== 0) return isWithin(other, one);
  return false;
}

/** Whether a host means every address of the machine. */
export function isUnspecified(host: string): boolean {
  const text = canonical(host);
  return text === '0.0.0.0' || text === '::';
}

/** Whether a host, or a subnet of IPv4, is this machine's own loopback; of names `localhost` alone. */
export function isLoopback(host: string): boolean {
  const text = canonical(host);
  return text === '::1' || /^127\.[\d.]+(\/\d+)?$/.test(text);
}

function canonical(host: string): string {
  const family = isIP(host);
  if (family === 0) {
    const name = host.toLowerCase().replace(/\.$/, '');
    return name === 'localhost' ? '127.0.0.1' : name;
  }
  // The same link-local address on another interface is another host.
  if (host.includes('%')) return host.toLowerCase();
  return new SocketAddress({ address: host, family: family === 6 ? 'ipv6' : 'ipv4' }).address;
}
