import { ownCallers } from '#common/grpc/callers.ts';
import { listenAddress, startGrpcServer } from '#common/grpc/server.ts';
import type { RunningService, ServiceContext } from '#common/service/service-context.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { BUILT_IN_METHODS } from './methods/built-in-methods.ts';
import { createHybridizerService } from './service.ts';

/** Starts the hybridizer: stateless key derivation. */
export async function startHybridizer(context: ServiceContext): Promise<RunningService> {
  const server = await startGrpcServer(context, {
    address: listenAddress(context),
    services: [
      {
        definition: HybridizerDefinition,
        implementation: createHybridizerService(BUILT_IN_METHODS),
        callers: ownCallers(context.config, 'hybridizer'),
      },
    ],
  });
  return { listening: { grpc: server.address }, stop: () => server.stop() };
}
