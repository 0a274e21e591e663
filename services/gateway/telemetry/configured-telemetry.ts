import type { Telemetry } from '#common/telemetry/telemetry.ts';
import type { ObservedStream } from '../streams/held/holdings.ts';
import type { GatewayTelemetry } from './parts.ts';

const same = <T>(inner: T): T => inner;

/** Of a gateway without telemetry: nothing is around anything. */
const NONE: GatewayTelemetry = {
  listeners: [],
  watchRound: undefined,
  observeLinks: () => undefined,
  ...{ kem: same, qkd: same, hybridizer: same, delivery: same, agreement: same },
};

/**
 * What is around the parts of a gateway; its modules are loaded only where
 * there is telemetry.
 *
 * @param streams all that there are.
 */
export async function configuredTelemetry(
  telemetry: Telemetry | undefined,
  streams: () => Iterable<ObservedStream>,
): Promise<GatewayTelemetry> {
  if (!telemetry) return NONE;
  return (await import('./gateway-telemetry.ts')).gatewayTelemetry(telemetry, streams);
}
