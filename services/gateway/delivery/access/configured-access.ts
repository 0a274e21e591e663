import { accessWarnings, listenersByAuthentication } from '#common/config/access/access-rules.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import type { Clock } from '#common/time/clock.ts';
import type { StreamEvents, StreamListener } from '../../streams/stream-events.ts';
import type { KeyDelivery, StreamDirectory } from '../key-delivery.ts';
import { ClientAccounts } from './client-accounts.ts';
import { ClientList } from './client-list.ts';
import { GuardedDelivery } from './guarded-delivery.ts';

/** Who may open streams, and what clients may take, where that is configured. */
export interface ConfiguredAccess {
  readonly listeners: readonly StreamListener[];
  delivery(inner: KeyDelivery & Pick<StreamDirectory, 'status'>, events: StreamEvents): KeyDelivery;
}

/** Says at the start what the configuration lets clients do. */
export function configuredAccess(
  { config, log }: Pick<ServiceContext, 'config' | 'log'>,
  clock: Pick<Clock, 'monotonicMs' | 'after'>,
): ConfiguredAccess {
  const { access, uuid, limits } = config;
  for (const warning of accessWarnings(config)) log.warning(warning);
  const { mutual } = listenersByAuthentication(config);
  if (access?.clients === undefined && mutual.length > 0) {
    const what = 'every client with a certificate may open streams: access.clients is not configured';
    log.info(what, { listeners: mutual.join(', ') });
  }
  if (!access) return { listeners: [], delivery: (inner) => inner };
  const list = access.clients && new ClientList(access.clients, uuid);
  const accounts = new ClientAccounts({
    ...{ list, defaults: access.default_quota, most: limits.max_streams, clock },
  });
  return {
    listeners: [accounts],
    delivery: (inner, events) => new GuardedDelivery(inner, { list, accounts, events, clock }),
  };
}
