import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createServer, isIPv6 } from 'node:net';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Below the range from which kernels take ports for outgoing connections, so that a service finds its port free again after a restart. */
const RANGE = [20_000, 32_000] as const;
const ATTEMPTS = 200;

/**
 * `count` different TCP ports of `host` that nobody listens on now, and that
 * no other draw gives, of any process, as long as this process lives: whoever
 * listens on them may come seconds later. What tells others is the UDP port of
 * the same number, which the kernel gives back however the process ends.
 */
export async function freePorts(
  host: string,
  count: number,
  [lowest, above]: readonly [number, number] = RANGE,
): Promise<number[]> {
  const ports = new Set<number>();
  for (let attempt = 0; attempt < ATTEMPTS && ports.size < count; attempt++) {
    const port = randomInt(lowest, above);
    if (await isReserved(host, port)) ports.add(port);
  }
  if (ports.size < count) throw new KeyweaveError('BAD_CONFIG', `no free ports on ${host}`);
  return [...ports];
}

/** Reserves a port; false where it is somebody else's. */
async function isReserved(host: string, port: number): Promise<boolean> {
  const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', reuseAddr: false });
  const isOurs = await new Promise<boolean>((resolve) => {
    socket.once('error', () => resolve(false));
    socket.bind({ port, address: host, exclusive: true }, () => resolve(true));
  });
  if (isOurs && (await isFree(host, port))) {
    socket.unref();
    return true;
  }
  socket.close();
  return false;
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
