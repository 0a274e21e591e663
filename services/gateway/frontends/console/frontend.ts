import { consoleTls } from '#common/config/app-listener-rules.ts';
import type { Address } from '#common/config/fields.ts';
import type { NodeConfig } from '#common/config/node-config.ts';
import { LimitedLog } from '#common/log/limited-log.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { appListenerTlsOptions } from '#common/tls/app-listener.ts';
import { clientTrust } from '#common/tls/client-trust.ts';
import type { FrontEnd } from '../frontend.ts';
import { openHttp, openHttps } from '../http/open-https.ts';
import { ConsoleCalls, type ConsoleCallsOptions } from './calls.ts';
import { healthPortsOf, NodeWatch } from './node-watch.ts';
import { createConsoleServer, createPlainConsoleServer } from './server.ts';

export { StreamWatch } from './stream-watch.ts';

export type ConsoleSettings = NonNullable<NodeConfig['listeners']['console']>;

const SETTING = 'listeners.console';

/** A page has one connection or two. */
const LIMITS = { max_connections: 32 };

/** What of the gateway the console shows. */
export type ShownParts = Pick<ConsoleCallsOptions, 'streams' | 'links' | 'directory'>;

/**
 * The console: a page that shows the running node to its operators. Over plain
 * HTTP on loopback, else over HTTPS with client certificates.
 *
 * @param settings the listener's section of config.json, which is there.
 */
export async function startConsole(
  { config, peers, log, identity }: ServiceContext,
  settings: ConsoleSettings,
  shown: ShownParts,
): Promise<FrontEnd> {
  const { uuid: nodeUuid, limits } = config;
  await using started = new AsyncDisposableStack();
  const refusals = started.adopt(new LimitedLog({ log, subject: 'refusals of connections' }), (open) =>
    open.close(),
  );
  const node = new NodeWatch(healthPortsOf(config));
  const calls = started.adopt(new ConsoleCalls({ nodeUuid, peers, node, ...shown }), (open) => open.stop());
  const options = { calls, limits, log };
  const opening = { setting: SETTING, address: settings, limits: LIMITS, log, refusals };
  let address: Address;
  if (consoleTls(settings) === 'mutual') {
    const trusted = started.adopt(clientTrust(identity, settings.client_ca_path, log), (open) =>
      open.close(),
    );
    const { server, stop } = createConsoleServer(options, appListenerTlsOptions(trusted, true));
    started.defer(() => stop(limits.shutdown_grace));
    address = await openHttps(server, { ...opening, trusted });
  } else {
    const { server, stop } = createPlainConsoleServer(options);
    started.defer(() => stop(limits.shutdown_grace));
    address = await openHttp(server, opening);
  }
  calls.start();

  const running = started.move();
  return { listening: { console: address }, stop: () => running.disposeAsync() };
}
