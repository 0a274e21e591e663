import { LimitedLog } from '#common/log/limited-log.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { appListenerTlsOptions, reloadingTls } from '#common/tls/app-listener.ts';
import type { KeyDelivery } from '../../delivery/key-delivery.ts';
import { FairTurns } from '../fair-turns.ts';
import type { FrontEnd } from '../frontend.ts';
import { Listener } from '../listener.ts';
import { serveJsonClient } from './connection.ts';

/** The reference's API: ETSI 004 as JSON over TCP, optionally behind TLS. */
export async function startEtsi004Json(
  { config, log, identity }: ServiceContext,
  delivery: KeyDelivery,
): Promise<FrontEnd> {
  const settings = config.listeners.json;
  const turns = new FairTurns();
  const refusals = new LimitedLog({ log, subject: 'refusals of connections' });
  const listener = await Listener.start({
    address: config.hybridization_server_address,
    setting: 'hybridization_server_address',
    tls: settings.tls,
    tlsOptions: () => appListenerTlsOptions(identity, settings.tls === 'mutual'),
    follow: (server) => reloadingTls(server, identity, log),
    limits: config.limits,
    serve: (accepted) =>
      serveJsonClient({ accepted, delivery, settings, limits: config.limits, turns, log, refusals }),
    ...{ log, refusals },
  });
  return {
    listening: { json: listener.address },
    stop: async () => {
      await listener.stop();
      refusals.close();
    },
  };
}
