import type { NodeConfig } from '#common/config/node-config.ts';
import { LimitedLog } from '#common/log/limited-log.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { appListenerTlsOptions, reloadingTls } from '#common/tls/app-listener.ts';
import { clientTrust } from '#common/tls/client-trust.ts';
import type { KeyDelivery } from '../../delivery/key-delivery.ts';
import { FairTurns } from '../fair-turns.ts';
import { ForeignUris } from '../foreign-uris.ts';
import type { FrontEnd } from '../frontend.ts';
import { Listener } from '../listener.ts';
import { serveBinaryClient } from './connection.ts';

/**
 * ETSI 004 in the binary protocol of ETSI's reference implementation, over TLS
 * with client certificates.
 *
 * @param settings the listener's section of config.json, which is there.
 */
export async function startEtsi004Binary(
  { config, peers, log, identity }: ServiceContext,
  delivery: KeyDelivery,
  settings: NonNullable<NodeConfig['listeners']['binary']>,
): Promise<FrontEnd> {
  const turns = new FairTurns();
  const refusals = new LimitedLog({ log, subject: 'refusals of connections' });
  const uris = new ForeignUris({ nodeUuid: config.uuid, peers, settings });
  const trusted = clientTrust(identity, settings.client_ca_path, log);
  const stop = () => {
    trusted.close();
    refusals.close();
  };
  try {
    const listener = await Listener.start({
      address: { host: settings.host, port: settings.port },
      setting: 'listeners.binary',
      tls: settings.tls,
      tlsOptions: () => appListenerTlsOptions(trusted, true),
      follow: (server) => reloadingTls(server, trusted, log),
      limits: config.limits,
      serve: (accepted) =>
        serveBinaryClient({
          ...{ accepted, delivery, settings, uris, limits: config.limits, turns, log, refusals },
        }),
      ...{ log, refusals },
    });
    return {
      listening: { binary: listener.address },
      stop: async () => {
        await listener.stop();
        stop();
      },
    };
  } catch (error) {
    stop();
    throw error;
  }
}
