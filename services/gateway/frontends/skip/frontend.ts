import { constants } from 'node:crypto';
import type { TLSSocket, TlsOptions } from 'node:tls';
import { LimitedLog } from '#common/log/limited-log.ts';
import { clientNetwork } from '#common/net/client-network.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import { appListenerTlsOptions, type ListenerPolicy } from '#common/tls/app-listener.ts';
import { clientTrust } from '#common/tls/client-trust.ts';
import type { KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import type { ListenerStreams } from '../../delivery/listener-streams.ts';
import type { FrontEnd } from '../frontend.ts';
import { openHttps } from '../http/open-https.ts';
import { SKIP_KEYS } from '../named-keys/key-kinds.ts';
import { NamedKeys } from '../named-keys/named-keys.ts';
import { Parties } from '../named-keys/parties.ts';
import { PartyQuotas } from '../named-keys/party-quotas.ts';
import { SkipCalls } from './calls.ts';
import { PskClients } from './psk-clients.ts';
import type { SkipSettings } from './requests.ts';
import { createSkipServer } from './server.ts';

const SETTING = 'listeners.skip';

/** Suites of TLS 1.3, and of 1.2 those of pre-shared keys alone: with a certificate 1.3 it is. */
const PSK_SUITES = [
  ...['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256'],
  ...['DHE-PSK-AES256-GCM-SHA384', 'ECDHE-PSK-CHACHA20-POLY1305', 'DHE-PSK-AES128-GCM-SHA256'],
  ...['ECDHE-PSK-AES256-CBC-SHA384', 'ECDHE-PSK-AES128-CBC-SHA256'],
  ...['PSK-AES256-GCM-SHA384', 'PSK-AES128-GCM-SHA256'],
];

/** Where there are pre-shared keys. No session is resumed: whose it is would not be known. */
const PSK_POLICY: ListenerPolicy = {
  ...{ minVersion: 'TLSv1.2', ecdhCurve: 'X25519MLKEM768:X25519', ciphers: PSK_SUITES.join(':') },
  ...{ dhparam: 'auto', secureOptions: constants.SSL_OP_NO_TICKET },
};

/**
 * SKIP (draft-cisco-skip-02) over HTTPS, with client certificates or
 * pre-shared keys.
 *
 * @param settings the listener's section of config.json, which is there.
 */
export async function startSkip(
  { config, log, identity }: ServiceContext,
  keys: KeyDelivery,
  streams: Pick<StreamDirectory, 'status'> & ListenerStreams,
  settings: SkipSettings,
): Promise<FrontEnd> {
  const { limits } = config;
  await using started = new AsyncDisposableStack();
  const refusals = started.adopt(new LimitedLog({ log, subject: 'refusals of connections' }), (open) =>
    open.close(),
  );
  const refused = (client: string, why: string) =>
    refusals.line(clientNetwork(client), 'warning', why, { client });
  const trusted = started.adopt(clientTrust(identity, settings.client_ca_path, log), (open) => open.close());
  const psk = settings.psk && started.adopt(new PskClients(settings.psk, log), (clients) => clients.close());
  const systems = new Parties(config.uuid, settings.systems, config.certificate_config.network);
  const named = started.adopt(
    new NamedKeys({
      ...{ kind: SKIP_KEYS, parties: systems, keys, streams, clock: systemClock, log },
      settings: { ...settings, max_sae_id_count: 0 },
    }),
    (open) => open.stop(),
  );
  const policy = psk && PSK_POLICY;
  const { masters, slaves } = named;
  const { server, stop } = createSkipServer({
    ...{ systems, limits, log, tls: { ...appListenerTlsOptions(trusted, true, policy), ...pskOptions(psk) } },
    calls: new SkipCalls({
      ...{ systems, masters, slaves, settings },
      quotas: new PartyQuotas({
        ...{ kind: SKIP_KEYS, parties: settings.systems, defaults: config.access?.default_quota },
        ...{ clock: systemClock, streams },
      }),
    }),
    systemOfPsk: (socket) => {
      const id = psk?.systemOf(socket);
      return id === undefined ? undefined : systems.find(id);
    },
    stranger: (client) =>
      refused(client, 'a client was refused that is no system of listeners.skip.systems at this node'),
  });
  started.defer(() => stop(limits.shutdown_grace));
  if (psk) {
    // The run time takes a pre-shared key for a missing certificate, so that it lets all in: those without either end here.
    server.prependListener('secureConnection', (socket: TLSSocket) => {
      if (socket.authorized || psk.add(socket)) return;
      refused(`${socket.remoteAddress}`, 'a client was refused without a certificate and pre-shared key');
      socket.destroy();
    });
  }
  const options = { setting: SETTING, address: settings, trusted, policy, limits, log, refusals };
  const address = await openHttps(server, options);
  named.start();

  const running = started.move();
  return { listening: { skip: address }, stop: () => running.disposeAsync() };
}

function pskOptions(psk: PskClients | undefined): TlsOptions {
  return psk ? { pskCallback: psk.keyOf, rejectUnauthorized: false } : {};
}
