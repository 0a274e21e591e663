import type { NodeConfig } from '#common/config/node-config.ts';
import type { HealthPort } from '#common/service/health-port.ts';
import type { Readiness } from '#common/service/readiness.ts';

/** Opens the health port where one is configured; loaded only then, since it takes a few megabytes of every process. */
export async function configuredHealthPort(
  { health }: NodeConfig,
  readiness: Readiness,
  metrics?: () => Promise<string>,
): Promise<HealthPort | undefined> {
  if (!health) return undefined;
  return (await import('#common/service/health-port.ts')).openHealthPort(health, readiness, metrics);
}
