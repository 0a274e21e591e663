import type { Server as PlainServer } from 'node:http';
import type { Server } from 'node:https';
import type { Address } from '#common/config/fields.ts';
import type { LimitedLog } from '#common/log/limited-log.ts';
import type { Log } from '#common/log/log.ts';
import { boundConnections, type ConnectionLimits } from '#common/net/bounded-connections.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import { listen } from '#common/net/listen.ts';
import { type ListenerPolicy, reloadingTls } from '#common/tls/app-listener.ts';
import type { ListenerIdentity } from '#common/tls/client-trust.ts';

export interface OpenHttpOptions {
  /** The listener's section of config.json, for messages. */
  readonly setting: string;
  readonly address: Address;
  readonly limits: ConnectionLimits;
  readonly log: Log;
  /** Lines about clients that are not served, limited for each. */
  readonly refusals: Pick<LimitedLog, 'line'>;
}

export interface OpenHttpsOptions extends OpenHttpOptions {
  /** Certificate, key and CAs, which the server is kept at. */
  readonly trusted: ListenerIdentity;
  /** That of all listeners where it is absent. */
  readonly policy?: ListenerPolicy | undefined;
}

/**
 * Has an HTTPS server listen for applications.
 *
 * @returns the address with the port that was bound.
 * @throws KeyweaveError BAD_CONFIG naming the setting where it cannot listen.
 */
export async function openHttps(server: Server, options: OpenHttpsOptions): Promise<Address> {
  const { trusted, policy, log } = options;
  reloadingTls(server, trusted, log, policy);
  return openHttp(server, options);
}

/** The same of a server as it is, for one without TLS. @throws KeyweaveError BAD_CONFIG */
export async function openHttp(server: Server | PlainServer, options: OpenHttpOptions): Promise<Address> {
  const { setting, address, limits, log, refusals } = options;
  const { host, port } = address;
  boundConnections(server, limits, (client, why) =>
    refusals.line(clientNetwork(client), 'warning', why, { client, setting }),
  );
  const bound = await listen(server, { host, port }, `${setting}: cannot listen on ${host}:${port}`);
  server.on('error', (error) => log.error('a listener failed', { setting }, error));
  return bound;
}
