import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Below the range from which kernels take ports for outgoing connections, so that a service finds its port free again after a restart. */
const LOWEST = 20_000;
const HIGHEST = 32_000;
const ATTEMPTS = 200;

/** `count` different ports of `host` that nobody listens on now. */
export async function freePorts(host: string, count: number): Promise<number[]> {
  const ports = new Set<number>();
  for (let attempt = 0; attempt < ATTEMPTS && ports.size < count; attempt++) {
    const port = randomInt(LOWEST, HIGHEST);
    if (!ports.has(port) && (await isFree(host, port))) ports.add(port);
  }
  if (ports.size < count) throw new KeyweaveError('BAD_CONFIG', `no free ports on ${host}`);
  return [...ports];
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
