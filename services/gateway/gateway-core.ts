import type { NodeConfig } from '#common/config/node-config.ts';
import type { Random } from '#common/crypto/random.ts';
import type { Log } from '#common/log/log.ts';
import type { Clock } from '#common/time/clock.ts';
import type { KeyAgreementServiceImplementation } from '#gen/keyweave/v1/key_agreement.ts';
import type { HybridizerClient } from './clients/hybridizer-client.ts';
import type { KemClient } from './clients/kem-client.ts';
import type { PeerLinks } from './clients/peer-link.ts';
import type { QkdClient } from './clients/qkd-client.ts';
import type { SharedSeeds } from './clients/shared-seeds.ts';
import { GatewayDelivery } from './delivery/gateway-delivery.ts';
import type { KeyDelivery, StreamDirectory } from './delivery/key-delivery.ts';
import type { ListenerStreams } from './delivery/listener-streams.ts';
import type { TrustedNodes } from './delivery/trusted-nodes.ts';
import { createAgreementService } from './frontends/peer/agreement-service.ts';
import { InitiatorOpening } from './opening/initiator-opening.ts';
import { ResponderOpening } from './opening/responder-opening.ts';
import { StreamEnds } from './opening/stream-ends.ts';
import { StreamFactory } from './opening/stream-factory.ts';
import { usableAlgorithms } from './opening/usable-algorithms.ts';
import type { EndStream } from './production/end-producer.ts';
import { Producers, type WatchRound } from './production/producers.ts';
import type { Reservoirs } from './reservoirs/reservoirs.ts';
import type { StreamStore } from './store/stream-store.ts';
import { NodePolicy } from './streams/policy/node-policy.ts';
import type { StreamEvents } from './streams/stream-events.ts';

/** All that a gateway leans on: whoever brings these has one, on a machine or in a simulated world. */
export interface GatewayPorts {
  readonly config: Pick<NodeConfig, 'uuid' | 'limits' | 'policy' | 'qkd'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly kem: KemClient;
  readonly qkd: QkdClient;
  readonly hybridizer: HybridizerClient;
  readonly links: PeerLinks;
  readonly seeds: SharedSeeds;
  readonly trusted: TrustedNodes;
  readonly store: StreamStore<EndStream>;
  readonly events: StreamEvents;
  readonly watchRound?: WatchRound | undefined;
}

/** What the front ends call: applications the one, other nodes the other. */
export interface GatewayCore {
  readonly delivery: KeyDelivery & StreamDirectory & ListenerStreams;
  readonly agreement: KeyAgreementServiceImplementation;
  /** What has become of the QKD keys of each link. */
  readonly qkdLinks: Pick<Reservoirs, 'balances'>;
  /** These nodes are trusted no more: their streams end, and whoever asks is told why. */
  distrust(nodes: readonly string[]): void;
  /** Closes every stream; resolves when all peers have been told, or could not be. */
  stop(reason: string): Promise<void>;
}

/** Puts the rooms of a gateway together; nothing here knows of a network, a file or a real clock. */
export function createGatewayCore(ports: GatewayPorts): GatewayCore {
  const { config, clock, random, log, kem, links, seeds, trusted, store, events } = ports;
  const { uuid: nodeUuid, limits, qkd: qkdSettings } = config;
  const policy = new NodePolicy(nodeUuid, config.policy);
  const producers = new Producers({ ...ports, limits, qkdSettings });
  const factory = new StreamFactory({
    limits,
    policy: config.policy,
    seeds,
    store,
    producers,
    events,
    clock,
  });
  const ends = new StreamEnds({ store, links, events, log });
  const assertUsable = usableAlgorithms(kem, clock);
  const initiator = new InitiatorOpening({ store, factory, policy, ends, links, random, clock, log });
  const responder = new ResponderOpening({
    ...{ nodeUuid, limits: config, store, factory, policy, ends, links, assertUsable, clock, log },
  });
  const delivery = new GatewayDelivery({
    ...{ nodeUuid, trusted, limits: config, store, initiator, responder, ends, factory, policy },
    ...{ assertUsable, events, kem, random, clock, qkdLinks: producers.reservoirs },
  });
  return {
    delivery,
    qkdLinks: producers.reservoirs,
    agreement: createAgreementService({
      ...{ store, initiator, responder, ends, rounds: producers, nodeUuid, clock },
    }),
    distrust: (nodes) => {
      for (const stream of [...store.all()]) {
        if (nodes.includes(stream.route.farNode)) ends.distrust(stream);
      }
    },
    stop: async (reason) => {
      responder.stop();
      await delivery.closeAll(reason);
      producers.reservoirs.stop();
    },
  };
}
