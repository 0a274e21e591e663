import type { Server } from 'node:https';
import { LimitedLog } from '#common/log/limited-log.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import { listen } from '#common/net/listen.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import { appListenerTlsOptions, reloadingTls } from '#common/tls/app-listener.ts';
import { clientTrust } from '#common/tls/client-trust.ts';
import type { KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import type { ListenerStreams } from '../../delivery/listener-streams.ts';
import type { FrontEnd } from '../frontend.ts';
import { assertMakesCode } from './assert-makes-code.ts';
import { RestCalls } from './calls.ts';
import { SaeQuotas } from './sae-quotas.ts';
import { type RestSettings, Saes } from './saes.ts';
import { createRestServer } from './server.ts';
import type { Delivery } from './streams/master-stream.ts';
import { MasterStreams } from './streams/master-streams.ts';
import { SlaveStreams } from './streams/slave-streams.ts';

const SETTING = 'listeners.rest';

/** How often keys that have lain too long are looked for, at most. */
const SWEEP_MS = 15_000;

/**
 * ETSI GS QKD 014 V1.1.1 over HTTPS with client certificates.
 *
 * @param settings the listener's section of config.json, which is there.
 */
export async function startEtsi014(
  { config, log, identity }: ServiceContext,
  keys: KeyDelivery,
  streams: Pick<StreamDirectory, 'status'> & ListenerStreams,
  settings: RestSettings,
): Promise<FrontEnd> {
  const delivery: Delivery = {
    open: (request) => keys.open(request),
    getKey: (request) => keys.getKey(request),
    close: (request) => keys.close(request),
    status: (request) => streams.status(request),
    takeOffers: (taker) => streams.takeOffers(taker),
    wipeOlder: (request, ageMs) => streams.wipeOlder(request, ageMs),
  };
  assertMakesCode(SETTING);
  const clock = systemClock;
  const { limits } = config;
  await using started = new AsyncDisposableStack();
  const refusals = started.adopt(new LimitedLog({ log, subject: 'refusals of connections' }), (open) =>
    open.close(),
  );
  const trusted = started.adopt(clientTrust(identity, settings.client_ca_path, log), (open) => open.close());
  const saes = new Saes(config.uuid, settings, config.certificate_config.network);
  const masters = started.adopt(new MasterStreams({ delivery, saes, settings, clock, log }), (open) =>
    open.stop(),
  );
  const slaves = started.adopt(new SlaveStreams({ delivery, saes, settings, clock }), (open) => open.stop());
  started.defer(delivery.takeOffers(slaves));
  const app = await createRestServer({
    ...{ saes, settings, limits, log, tls: appListenerTlsOptions(trusted, true) },
    calls: new RestCalls({
      ...{ saes, masters, slaves, settings, limits },
      quotas: new SaeQuotas({ config, clock }),
    }),
    stranger: (client) => {
      const why = 'a client was refused whose certificate names no SAE of listeners.rest.saes';
      refusals.line(clientNetwork(client), 'warning', why, { client });
    },
  });
  const server = app.server as Server;
  reloadingTls(server, trusted, log);
  server.on('drop', (dropped) => {
    const client = dropped?.remoteAddress ?? '';
    const why = 'a connection was refused: limits.max_connections is reached';
    refusals.line(clientNetwork(client), 'warning', why, { client, setting: SETTING });
  });
  started.defer(async () => {
    const cut = setTimeout(() => server.closeAllConnections(), limits.shutdown_grace);
    await app.close();
    clearTimeout(cut);
  });
  const { host, port } = settings;
  const address = await listen(server, { host, port }, `${SETTING}: cannot listen on ${host}:${port}`);
  masters.keepWarm();
  const sweeps = setInterval(
    () => {
      masters.sweep();
      slaves.sweep();
    },
    Math.min(SWEEP_MS, settings.key_ttl / 4),
  ).unref();
  started.defer(() => clearInterval(sweeps));

  const running = started.move();
  return { listening: { rest: address }, stop: () => running.disposeAsync() };
}
