import type { NodeConfig } from '#common/config/node-config.ts';
import type { Log } from '#common/log/log.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';

/**
 * Starts telemetry where some of it is configured that anybody gets to see;
 * its libraries are loaded only then, since they take some 20 MB of a process.
 */
export async function configuredTelemetry(
  service: string,
  config: Pick<NodeConfig, 'uuid' | 'telemetry' | 'health'>,
  log: Log,
): Promise<Telemetry | undefined> {
  const { metrics, traces, otlp } = config.telemetry ?? {};
  const isSeen = (metrics && (config.health || otlp)) || (traces && otlp);
  if (!isSeen) return undefined;
  return (await import('#common/telemetry/start-telemetry.ts')).startTelemetry({ service, config, log });
}
