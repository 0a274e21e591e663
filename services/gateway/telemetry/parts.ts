import type { KeyAgreementServiceImplementation } from '#gen/keyweave/v1/key_agreement.ts';
import type { HybridizerClient } from '../clients/hybridizer-client.ts';
import type { KemClient } from '../clients/kem-client.ts';
import type { QkdClient } from '../clients/qkd-client.ts';
import type { KeyDelivery } from '../delivery/key-delivery.ts';
import type { WatchRound } from '../production/producers.ts';
import type { Reservoirs } from '../reservoirs/reservoirs.ts';
import type { StreamListener } from '../streams/stream-events.ts';

/** Puts telemetry around the parts of a gateway, and listens to its streams. */
export interface GatewayTelemetry {
  readonly listeners: readonly StreamListener[];
  readonly watchRound: WatchRound | undefined;
  /** Shows from now on where the QKD keys of these links go. */
  observeLinks(links: Pick<Reservoirs, 'balances'>): void;
  kem(inner: KemClient): KemClient;
  qkd(inner: QkdClient): QkdClient;
  hybridizer(inner: HybridizerClient): HybridizerClient;
  delivery(inner: KeyDelivery): KeyDelivery;
  agreement(inner: KeyAgreementServiceImplementation): KeyAgreementServiceImplementation;
}
