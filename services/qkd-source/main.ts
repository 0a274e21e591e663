import { ownCallers } from '#common/grpc/callers.ts';
import { listenAddress, startGrpcServer } from '#common/grpc/server.ts';
import type { RunningService, ServiceContext } from '#common/service/service-context.ts';
import { QkdSourceDefinition } from '#gen/keyweave/v1/qkd_source.ts';
import { createEtsi004BinaryDriver } from './drivers/etsi004/etsi004-binary.ts';
import { createEtsi004JsonDriver } from './drivers/etsi004/etsi004-json.ts';
import { createEtsi014Driver } from './drivers/etsi014/etsi014-driver.ts';
import { loggedDriver } from './drivers/logged-driver.ts';
import { createQkdSourceService } from './service.ts';

/** The drivers by their name in the configuration. */
const DRIVERS = {
  'etsi004-json': createEtsi004JsonDriver,
  'etsi004-binary': createEtsi004BinaryDriver,
  etsi014: createEtsi014Driver,
} as const;

/** Starts qkd-source: QKD keys, whatever the key manager speaks. */
export async function startQkdSource(context: ServiceContext): Promise<RunningService> {
  const { config, log } = context;
  const options = { log, nodeUuid: config.uuid };
  const driver = loggedDriver(DRIVERS[config.qkd.driver](config.qkd_address, config.qkd, options), log);
  const server = await startGrpcServer(context, {
    address: listenAddress(context),
    services: [
      {
        definition: QkdSourceDefinition,
        implementation: createQkdSourceService({ driver, nodeUuid: config.uuid, log }),
        callers: ownCallers(config, 'qkd-source'),
      },
    ],
  });
  void driver.learn();
  return {
    listening: { grpc: server.address },
    stop: async () => {
      await server.stop();
      driver.stop();
    },
  };
}
