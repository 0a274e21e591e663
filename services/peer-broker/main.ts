import { ownCallers, peerBrokerCallers } from '#common/grpc/callers.ts';
import { connectOwn } from '#common/grpc/client.ts';
import { listenAddress, startGrpcServer } from '#common/grpc/server.ts';
import type { RunningService, ServiceContext } from '#common/lifecycle/service-context.ts';
import { PeerDirectory } from './peer-directory.ts';
import { KEY_AGREEMENT_NAME, rawKeyAgreement } from './raw-key-agreement.ts';
import { createInboundRelay, createOutboundRelay, type RawClient } from './relay.ts';

/** Starts the peer-broker: the only service that other nodes reach. */
export async function startPeerBroker(context: ServiceContext): Promise<RunningService> {
  const { config, peers } = context;
  const directory = new PeerDirectory(context);
  const gateway = connectOwn(context, 'gateway');
  const gatewayClient = gateway.client(rawKeyAgreement) as RawClient;

  const inside = await startGrpcServer(context, {
    address: listenAddress(context),
    services: [
      {
        fullName: KEY_AGREEMENT_NAME,
        definition: rawKeyAgreement,
        implementation: createOutboundRelay((peer) => directory.clientOf(peer)),
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
        implementation: createInboundRelay(gatewayClient, config.uuid),
        callers: peerBrokerCallers(config, peers),
      },
    ],
  });

  return {
    listening: { grpc: inside.address, peer: outside.address },
    stop: async () => {
      await Promise.all([outside.stop(), inside.stop()]);
      directory.close();
      gateway.close();
    },
  };
}
