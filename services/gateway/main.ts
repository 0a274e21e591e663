import type { ServiceName } from '#common/config/node-config.ts';
import { warnOfWeakSeeds } from '#common/config/weak-seeds.ts';
import { systemRandom } from '#common/crypto/random.ts';
import { ownCallers } from '#common/grpc/callers.ts';
import { connectOwn, OWN_SESSION } from '#common/grpc/client.ts';
import { listenAddress, startGrpcServer } from '#common/grpc/server.ts';
import { serviceCheck } from '#common/grpc/service-check.ts';
import type { RunningService, ServiceContext } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';
import { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { QkdSourceDefinition } from '#gen/keyweave/v1/qkd_source.ts';
import { createHybridizerClient } from './clients/hybridizer-client.ts';
import { PqcSourceClient } from './clients/kem-client.ts';
import { BrokerLinks } from './clients/peer-link.ts';
import { createQkdClient } from './clients/qkd-client.ts';
import type { SharedSeeds } from './clients/shared-seeds.ts';
import { configuredAccess } from './delivery/access/configured-access.ts';
import type { TrustedNodes } from './delivery/trusted-nodes.ts';
import { configuredConsole } from './frontends/console/configured-console.ts';
import { startEtsi004Binary } from './frontends/etsi004-binary/frontend.ts';
import { startEtsi004Json } from './frontends/etsi004-json/frontend.ts';
import { createGatewayCore } from './gateway-core.ts';
import type { EndStream } from './production/end-producer.ts';
import { SourceFaults } from './production/source-faults.ts';
import { MemoryStreamStore } from './store/memory-stream-store.ts';
import { peerQuotas } from './store/peer-quotas.ts';
import { StreamLog } from './stream-log.ts';
import { StreamEvents } from './streams/stream-events.ts';
import { configuredAudit } from './telemetry/configured-audit.ts';
import { configuredTelemetry } from './telemetry/configured-telemetry.ts';

/** Starts the gateway: the node's ETSI front end, and the owner of its key streams. What a start that fails has started, it stops. */
export async function startGateway(context: ServiceContext): Promise<RunningService> {
  const { config, peers, log } = context;
  const { uuid: nodeUuid, limits } = config;
  const clock = systemClock;
  await using started = new AsyncDisposableStack();
  warnOfWeakSeeds(context);
  const others = Object.keys(peers).filter((node) => node !== nodeUuid);
  const store = new MemoryStreamStore<EndStream>({
    ...{ maxStreams: limits.max_streams, quotas: peerQuotas(limits, others.length), clock },
  });
  const telemetry = await configuredTelemetry(context.telemetry, () => store.all());
  const console = await configuredConsole(context, () => store.all());
  const access = configuredAccess(context, clock);
  const audit = started.adopt(configuredAudit(context), (open) => open.close());

  /** A connection to a service of the own node, without which the gateway is not ready. */
  const connect = (service: Exclude<ServiceName, 'gateway'>) => {
    const connection = started.adopt(connectOwn(context, service), (open) => open.close());
    context.readiness.add(service, serviceCheck(connection));
    return connection;
  };
  connect('peer-broker');
  const qkd = telemetry.qkd(
    createQkdClient(connect('qkd-source').client(QkdSourceDefinition), config.qkd.timeout),
  );
  const hybridizer = telemetry.hybridizer(
    createHybridizerClient(connect('hybridizer').client(HybridizerDefinition)),
  );
  const pqcSource = connect('pqc-source').client(PqcSourceDefinition);
  const links = new BrokerLinks(() => connectOwn(context, 'peer-broker', OWN_SESSION), clock);
  started.defer(() => links.close());
  const kem = started.adopt(new PqcSourceClient(pqcSource, clock), (open) => open.close());

  const seeds: SharedSeeds = { of: (node) => peers[node]?.shared_seed };
  const trusted: TrustedNodes = { has: (node) => peers[node] !== undefined };
  const streamLog = started.adopt(new StreamLog(log), (open) => open.close());
  const events = new StreamEvents(
    [
      new SourceFaults(log),
      streamLog,
      ...access.listeners,
      ...audit.listeners,
      ...telemetry.listeners,
      ...console.listeners,
    ],
    (thrown) => log.error('a listener to streams failed', {}, thrown),
  );
  const core = createGatewayCore({
    ...{ config, clock, random: systemRandom, log, kem: telemetry.kem(kem), qkd, hybridizer, links },
    ...{ seeds, trusted, store, events, watchRound: telemetry.watchRound },
  });

  telemetry.observeLinks(core.qkdLinks);
  const guarded = access.delivery(core.delivery, events);
  const delivery = telemetry.delivery(audit.delivery(guarded, events));
  const unsubscribe = context.onPeersChange(({ removed }) => {
    warnOfWeakSeeds(context);
    core.distrust(removed);
  });
  started.defer(unsubscribe);

  const grpc = await startGrpcServer(context, {
    address: listenAddress(context),
    services: [
      {
        definition: KeyAgreementDefinition,
        implementation: telemetry.agreement(core.agreement),
        callers: ownCallers(config, 'gateway'),
      },
    ],
  });
  started.defer(() => grpc.stop());
  started.defer(() => core.stop('the gateway is stopping'));
  const json = await startEtsi004Json(context, delivery);
  started.defer(() => json.stop());
  const { binary: binarySettings, grpc: grpcSettings } = config.listeners;
  const { rest: restSettings, skip: skipSettings } = config.listeners;
  const binary = binarySettings && (await startEtsi004Binary(context, delivery, binarySettings));
  if (binary) started.defer(() => binary.stop());
  const tools =
    grpcSettings &&
    (await (await loadGrpcApi()).startGrpcApi(context, delivery, core.delivery, grpcSettings));
  if (tools) started.defer(() => tools.stop());
  const rest =
    restSettings &&
    (await (await loadRestApi()).startEtsi014(context, delivery, core.delivery, restSettings));
  if (rest) started.defer(() => rest.stop());
  const skip =
    skipSettings && (await (await loadSkipApi()).startSkip(context, delivery, core.delivery, skipSettings));
  if (skip) started.defer(() => skip.stop());
  const page = await console.start({ links: core.qkdLinks, directory: core.delivery });
  if (page) started.defer(() => page.stop());

  // In the opposite order: applications first, then the streams, then the peers.
  const running = started.move();
  return {
    listening: {
      grpc: grpc.address,
      ...json.listening,
      ...binary?.listening,
      ...tools?.listening,
      ...rest?.listening,
      ...skip?.listening,
      ...page?.listening,
    },
    stop: () => running.disposeAsync(),
  };
}

/** The gRPC API, whose libraries are a fifth of the gateway's start: loaded only where it is configured. */
export const loadGrpcApi = () => import('./frontends/grpc/frontend.ts');

/** The REST API, for the same reason. */
export const loadRestApi = () => import('./frontends/etsi014/frontend.ts');

/** SKIP, for the same reason. */
export const loadSkipApi = () => import('./frontends/skip/frontend.ts');
