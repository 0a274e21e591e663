import { ownCallers, peerBrokerCallers } from '#common/grpc/callers.ts';
import { connectOwn, OWN_SESSION } from '#common/grpc/client.ts';
import { listenAddress, startGrpcServer } from '#common/grpc/server.ts';
import type { RunningService, ServiceContext } from '#common/service/service-context.ts';
import { connectPeer, PeerClients } from './peer-directory.ts';
import { KEY_AGREEMENT_NAME, rawKeyAgreement } from './raw-key-agreement.ts';
import { createInboundRelay, createOutboundRelay } from './relay.ts';

/** Starts the peer-broker: the only service that other nodes reach. */
export async function startPeerBroker(context: ServiceContext): Promise<RunningService> {
  const { config, peers } = context;
  const brokers = new PeerClients((peer) => connectPeer(context, peer));
  // A session for each peer: calls that one leaves unanswered take no room of another's.
  const gateways = new PeerClients(() => connectOwn(context, 'gateway', OWN_SESSION));
  const unsubscribe = context.onPeersChange(({ removed, changed }) => {
    for (const peer of [...removed, ...changed]) brokers.forget(peer);
    for (const peer of removed) gateways.forget(peer);
  });

  const inside = await startGrpcServer(context, {
    address: listenAddress(context),
    services: [
      {
        fullName: KEY_AGREEMENT_NAME,
        definition: rawKeyAgreement,
        implementation: createOutboundRelay((peer) => brokers.of(peer)),
        callers: ownCallers(config, 'peer-broker'),
      },
    ],
  });
  const outside = await startGrpcServer(context, {
    address: config.peer_local_address,
    services: [
      {
        fullName: KEY_AGREEMENT_NAME,
        definition: rawKeyAgreement,
        implementation: createInboundRelay((peer) => gateways.of(peer), config.uuid),
        callers: peerBrokerCallers(config, peers),
      },
    ],
  }).catch((error: unknown) => {
    // Not waited for: whoever failed to start must not take the grace of calls under way.
    void inside.stop();
    throw error;
  });

  const stopProbes = await configuredProbes(context, brokers);
  return {
    listening: { grpc: inside.address, peer: outside.address },
    stop: async () => {
      await Promise.all([outside.stop(), inside.stop()]);
      unsubscribe();
      stopProbes?.();
      brokers.close();
      gateways.close();
    },
  };
}

/** The peers are asked for metrics alone. */
async function configuredProbes(
  { telemetry, config, peers }: ServiceContext,
  brokers: PeerClients,
): Promise<(() => void) | undefined> {
  if (!telemetry) return undefined;
  return (await import('./peer-probes.ts')).probePeers(telemetry.meter, {
    peers: () => Object.keys(peers).filter((peer) => peer !== config.uuid),
    healthOf: (peer) => brokers.health(peer),
  });
}
