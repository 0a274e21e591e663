import { warnOfWeakSeeds } from '#common/config/weak-seeds.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ownCallers } from '#common/grpc/callers.ts';
import { connectOwn, OWN_SESSION } from '#common/grpc/client.ts';
import { listenAddress, startGrpcServer } from '#common/grpc/server.ts';
import type { RunningService, ServiceContext } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';
import { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { QkdSourceDefinition } from '#gen/keyweave/v1/qkd_source.ts';
import { KemClient } from './clients/kem-client.ts';
import type { NodeServices } from './clients/node-services.ts';
import { PeerLinks } from './clients/peer-link.ts';
import { KeyDelivery } from './delivery/gateway-delivery.ts';
import { startEtsi004JsonTcp } from './frontends/etsi004-json/frontend.ts';
import { createAgreementService } from './frontends/peer/agreement-service.ts';
import { Rendezvous } from './opening/rendezvous.ts';
import { usableAlgorithms } from './opening/usable-algorithms.ts';
import { SourceFaults } from './production/source-faults.ts';
import { MemoryStreamStore } from './store/memory-stream-store.ts';
import { peerQuotas } from './store/peer-quotas.ts';

/** Starts the gateway: the node's ETSI front end, and the owner of its key streams. */
export async function startGateway(context: ServiceContext): Promise<RunningService> {
  const { config, peers, log } = context;
  warnOfWeakSeeds(context);
  const pqcSource = connectOwn(context, 'pqc-source');
  const qkdSource = connectOwn(context, 'qkd-source');
  const hybridizer = connectOwn(context, 'hybridizer');
  const agreements = new PeerLinks(() => connectOwn(context, 'peer-broker', OWN_SESSION));

  const pqcClient = pqcSource.client(PqcSourceDefinition);
  const keyPairs = new KemClient(pqcClient, systemClock.monotonicMs);
  const services: NodeServices = {
    nodeUuid: config.uuid,
    keyPairs,
    pqcSource: pqcClient,
    qkdSource: qkdSource.client(QkdSourceDefinition),
    hybridizer: hybridizer.client(HybridizerDefinition),
    limits: config.limits,
    qkd: config.qkd,
    log,
    sourceFaults: new SourceFaults(log),
    now: systemClock.monotonicMs,
    sharedSeed: (peerNode) => peers[peerNode]?.shared_seed,
    peer: (nodeUuid) => agreements.of(nodeUuid),
  };

  const registry = new MemoryStreamStore({
    maxStreams: config.limits.max_streams,
    quotas: peerQuotas(config.limits, Object.keys(peers).filter((uuid) => uuid !== config.uuid).length),
    now: services.now,
    onExpiry: (stream) => void delivery.closeStream(stream, 'its TTL has run out'),
  });
  const assertUsable = usableAlgorithms(pqcClient, systemClock.monotonicMs);
  const rendezvous = new Rendezvous({ config, services, registry });
  const delivery = new KeyDelivery({ config, peers, services, registry, rendezvous, assertUsable });

  const unsubscribe = context.onPeersChange(({ removed }) => {
    warnOfWeakSeeds(context);
    for (const stream of registry.all()) {
      if (!removed.includes(stream.peerNode)) continue;
      const why = `node ${stream.peerNode} is not among this node's trusted peers any more`;
      void delivery.closeStream(stream, why);
      // The application has not closed it itself: it is told why when it asks again.
      registry.ended.note(stream, new KeyweaveError('UNKNOWN_STREAM', `this stream has ended: ${why}`));
    }
  });

  const grpc = await startGrpcServer(context, {
    address: listenAddress(context),
    services: [
      {
        definition: KeyAgreementDefinition,
        implementation: createAgreementService({
          nodeUuid: config.uuid,
          services,
          registry,
          rendezvous,
          assertUsable,
        }),
        callers: ownCallers(config, 'gateway'),
      },
    ],
  });
  const json = await startEtsi004JsonTcp({ context, delivery, address: config.hybridization_server_address });

  return {
    listening: { grpc: grpc.address, json: json.address },
    stop: async () => {
      unsubscribe();
      await json.stop();
      rendezvous.stop();
      const open = [...registry.all()];
      await Promise.all(open.map((stream) => delivery.closeStream(stream, 'the gateway is stopping')));
      await grpc.stop();
      keyPairs.close();
      agreements.close();
      for (const connection of [pqcSource, qkdSource, hybridizer]) connection.close();
    },
  };
}
