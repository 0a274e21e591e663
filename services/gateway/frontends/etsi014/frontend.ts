import { LimitedLog } from '#common/log/limited-log.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import { appListenerTlsOptions } from '#common/tls/app-listener.ts';
import { clientTrust } from '#common/tls/client-trust.ts';
import type { KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import type { ListenerStreams } from '../../delivery/listener-streams.ts';
import type { FrontEnd } from '../frontend.ts';
import { openHttps } from '../http/open-https.ts';
import { ETSI014_KEYS } from '../named-keys/key-kinds.ts';
import { NamedKeys } from '../named-keys/named-keys.ts';
import { Parties } from '../named-keys/parties.ts';
import { PartyQuotas } from '../named-keys/party-quotas.ts';
import { RestCalls } from './calls.ts';
import type { RestSettings } from './requests.ts';
import { createRestServer } from './server.ts';

const SETTING = 'listeners.rest';

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
  const { limits } = config;
  await using started = new AsyncDisposableStack();
  const refusals = started.adopt(new LimitedLog({ log, subject: 'refusals of connections' }), (open) =>
    open.close(),
  );
  const trusted = started.adopt(clientTrust(identity, settings.client_ca_path, log), (open) => open.close());
  const saes = new Parties(config.uuid, settings.saes, config.certificate_config.network);
  const named = started.adopt(
    new NamedKeys({
      ...{ kind: ETSI014_KEYS, parties: saes, settings, keys, streams, clock: systemClock, log },
    }),
    (open) => open.stop(),
  );
  const { masters, slaves } = named;
  const { server, stop } = createRestServer({
    ...{ saes, settings, limits, log, tls: appListenerTlsOptions(trusted, true) },
    calls: new RestCalls({
      ...{ saes, masters, slaves, settings, limits },
      quotas: new PartyQuotas({
        ...{ kind: ETSI014_KEYS, parties: settings.saes, defaults: config.access?.default_quota },
        ...{ clock: systemClock, streams },
      }),
    }),
    stranger: (client) => {
      const why = 'a client was refused whose certificate names no SAE of listeners.rest.saes';
      refusals.line(clientNetwork(client), 'warning', why, { client });
    },
  });
  started.defer(() => stop(limits.shutdown_grace));
  const address = await openHttps(server, {
    ...{ setting: SETTING, address: settings, trusted, limits, log, refusals },
  });
  named.start();

  const running = started.move();
  return { listening: { rest: address }, stop: () => running.disposeAsync() };
}
