import type { Telemetry } from '#common/telemetry/telemetry.ts';
import type { ObservedStream } from '../streams/held/holdings.ts';
import { linkMetrics } from './link-metrics.ts';
import { ObservedDelivery } from './observed-delivery.ts';
import { ObservedSources } from './observed-sources.ts';
import type { GatewayTelemetry } from './parts.ts';
import { streamMetrics } from './stream-metrics.ts';
import { tracedAgreement } from './traced-agreement.ts';
import { TracedBatches } from './traced-batches.ts';

/** @param streams all that there are. */
export function gatewayTelemetry(
  telemetry: Telemetry,
  streams: () => Iterable<ObservedStream>,
): GatewayTelemetry {
  const { meter, tracing } = telemetry;
  const sources = new ObservedSources(telemetry);
  const batches = tracing && new TracedBatches(tracing);
  return {
    listeners: [streamMetrics(meter, streams), ...(batches ? [batches] : [])],
    watchRound: batches?.watch,
    observeLinks: (links) => linkMetrics(meter, () => links.balances),
    kem: (inner) => sources.kem(inner),
    qkd: (inner) => sources.qkd(inner),
    hybridizer: (inner) => sources.hybridizer(inner),
    delivery: (inner) => new ObservedDelivery(inner, telemetry, batches),
    agreement: (inner) => (tracing && batches ? tracedAgreement(inner, tracing, batches) : inner),
  };
}
