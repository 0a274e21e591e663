import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe } from 'node:diagnostics_channel';
import { Server } from 'node:net';

/** Published in the turn of `listen`, before anybody can connect. */
const LISTEN = 'tracing:net.server.listen:asyncStart';

const listening = new AsyncLocalStorage<(server: Server) => void>();

let isSubscribed = false;

/**
 * Does what makes a server listen that a library keeps to itself.
 *
 * @param found is given each such server before anybody can connect to it.
 */
export function withListeningServers<T>(found: (server: Server) => void, listen: () => T): T {
  if (!isSubscribed) {
    isSubscribed = true;
    subscribe(LISTEN, (message) => {
      const { server } = message as { server?: unknown };
      if (server instanceof Server) listening.getStore()?.(server);
    });
  }
  return listening.run(found, listen);
}
