import { mergedExposition } from '#common/telemetry/merged-exposition.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { ServiceSupervisor } from '../supervisor.ts';

/** A service that takes longer is left out; what Prometheus waits and the health port allows is more. */
const SERVICE_LIMIT_MS = 1_000;

/** The metrics of all processes of a node in one text. */
export async function nodeExposition(
  own: Pick<Telemetry, 'exposition'>,
  services: readonly Pick<ServiceSupervisor, 'metrics'>[],
): Promise<string> {
  const texts = await Promise.all([
    own.exposition?.(),
    ...services.map((service) => waitFor(service.metrics(), SERVICE_LIMIT_MS)),
  ]);
  return mergedExposition(texts.filter((text) => text !== undefined));
}

/** Whether each service of the node runs, and how often it was started again. */
export function observeServices(
  { meter }: Telemetry,
  services: readonly Pick<ServiceSupervisor, 'name' | 'isRunning' | 'restarts'>[],
): void {
  const up = meter.createObservableGauge('keyweave_service_up', {
    description: 'Whether the process of a service runs and has said that it serves: 1 or 0',
  });
  const restarts = meter.createObservableCounter('keyweave_service_restarts_total', {
    description: 'How often a service that had died was started again',
  });
  meter.addBatchObservableCallback(
    (result) => {
      for (const service of services) {
        result.observe(up, service.isRunning ? 1 : 0, { service: service.name });
        result.observe(restarts, service.restarts, { service: service.name });
      }
    },
    [up, restarts],
  );
}
