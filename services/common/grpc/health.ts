import type { ServiceName } from '#common/config/node-config.ts';
import { VERSION } from '#common/service/version.ts';
import type { HealthServiceImplementation } from '#gen/keyweave/v1/health.ts';

/** Health of one service: serving until its stop begins. */
export function healthService(service: ServiceName, stopping: AbortSignal): HealthServiceImplementation {
  return {
    check: async () => ({
      service,
      serving: !stopping.aborted,
      detail: stopping.aborted ? 'stopping' : '',
      version: VERSION,
    }),
  };
}
