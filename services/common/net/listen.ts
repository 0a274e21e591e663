import type { ListenOptions, Server } from 'node:net';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/**
 * Has a server listen; port 0 picks one.
 *
 * @param failure what is said where the address cannot be bound.
 * @param more what else `server.listen` takes.
 * @returns the address with the port that was bound.
 * @throws KeyweaveError BAD_CONFIG where it cannot be bound.
 */
export function listen(
  server: Server,
  { host, port }: Address,
  failure = `cannot listen on ${host}:${port}`,
  more: Pick<ListenOptions, 'backlog'> = {},
): Promise<Address> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) => reject(new KeyweaveError('BAD_CONFIG', failure, { cause }));
    server.once('error', fail);
    server.listen({ ...more, host, port }, () => {
      server.off('error', fail);
      const bound = server.address();
      resolve({ host, port: typeof bound === 'object' && bound ? bound.port : port });
    });
  });
}
