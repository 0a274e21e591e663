import { KEM_ENGINE_NAMES } from '#common/catalogue/kems.ts';
import { ownCallers } from '#common/grpc/callers.ts';
import { listenAddress, startGrpcServer } from '#common/grpc/server.ts';
import type { RunningService, ServiceContext } from '#common/service/service-context.ts';
import { systemClock } from '#common/time/clock.ts';
import { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { EngineSet } from './engine-set.ts';
import { createEngines } from './engines/built-in-engines.ts';
import { type KemReport, type Measured, reportKems } from './kem-report.ts';
import { KeyPairPool } from './key-pair-pool.ts';
import { observePool } from './pool-metrics.ts';
import { createPqcSourceService } from './service.ts';

export type { KemReport };

/** What becomes of every KEM on this machine, whatever a node's configuration leaves out. */
export function kemsOfThisMachine(measured: Measured): Promise<KemReport[]> {
  return reportKems(createEngines(KEM_ENGINE_NAMES), measured);
}

/** Starts pqc-source. The engines are tried before it serves. */
export async function startPqcSource(context: ServiceContext): Promise<RunningService> {
  const engines = new EngineSet(createEngines(context.config.pqc.engines), context.log);
  await engines.selfTest();
  const { max_pairs, max_bytes } = context.config.pqc.key_pair_pool;
  const pool = new KeyPairPool({
    maxPairs: max_pairs,
    maxBytes: max_bytes,
    now: systemClock.monotonicMs,
    log: context.log,
  });
  if (context.telemetry) observePool(context.telemetry.meter, pool);
  const server = await startGrpcServer(context, {
    address: listenAddress(context),
    services: [
      {
        definition: PqcSourceDefinition,
        implementation: createPqcSourceService(engines, pool),
        callers: ownCallers(context.config, 'pqc-source'),
      },
    ],
  });
  return {
    listening: { grpc: server.address },
    stop: async () => {
      await server.stop();
      pool.close();
      await engines.close();
    },
  };
}
