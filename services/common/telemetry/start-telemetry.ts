import { hostname } from 'node:os';
import { createNoopMeter, DiagLogLevel, diag } from '@opentelemetry/api';
import { resourceFromAttributes } from '@opentelemetry/resources';
import type { NodeConfig } from '#common/config/node-config.ts';
import { LimitedLog } from '#common/log/limited-log.ts';
import type { Log } from '#common/log/log.ts';
import { VERSION } from '#common/service/version.ts';
import { observeCertificates } from '#common/telemetry/certificate-metrics.ts';
import type { DurationHistogram } from '#common/telemetry/durations.ts';
import { createMetricPipeline } from '#common/telemetry/metric-pipeline.ts';
import { observeProcess } from '#common/telemetry/process-metrics.ts';
import { createRpcTelemetry } from '#common/telemetry/rpc-telemetry.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';
import { createTracePipeline } from '#common/telemetry/trace-pipeline.ts';
import { waitFor } from '#common/time/wait-for.ts';

/** A histogram where metrics are off. */
const UNCOUNTED: DurationHistogram = { of: () => ({ record: () => undefined }) };

/** What is left to send at a stop has so long, milliseconds. */
const CLOSE_LIMIT_MS = 2_000;

export interface TelemetryOptions {
  /** One of the services, or "node" for what supervises them. */
  readonly service: string;
  readonly config: Pick<NodeConfig, 'uuid' | 'telemetry'>;
  readonly log: Log;
}

/** Starts metrics and traces as configured. */
export function startTelemetry({ service, config, log }: TelemetryOptions): Telemetry {
  const { metrics: wantsMetrics = false, traces, otlp } = config.telemetry ?? {};
  const troubles = new LimitedLog({ log, subject: 'troubles of telemetry' });
  tellTroubles((message) =>
    troubles.line('telemetry', 'warning', 'telemetry is in trouble', { detail: message }),
  );
  const resource = resourceFromAttributes({
    'service.namespace': 'keyweave',
    'service.name': service,
    'service.version': VERSION,
    'service.instance.id': `${config.uuid}/${service}@${hostname()}/${process.pid}`,
    'keyweave.node': config.uuid,
  });
  const metrics = wantsMetrics ? createMetricPipeline(resource, otlp) : undefined;
  const traced = traces && otlp ? createTracePipeline(resource, traces.sample_ratio, otlp) : undefined;
  const meter = metrics?.meter ?? createNoopMeter();
  const durations = metrics?.durations ?? (() => UNCOUNTED);
  const stopSampling = metrics && observeProcess(meter);
  return {
    meter,
    durations,
    tracing: traced?.tracing,
    rpc: createRpcTelemetry({ meter, durations }, traced?.tracing),
    exposition: metrics?.exposition,
    observeCertificates: (certificates) => observeCertificates(meter, certificates),
    close: async () => {
      stopSampling?.();
      await waitFor(Promise.allSettled([metrics?.close(), traced?.close()]), CLOSE_LIMIT_MS);
      troubles.close();
    },
  };
}

/** Of what the libraries say the message alone: what hangs on it is nobody's to print. */
function tellTroubles(tell: (message: string) => void): void {
  const told = (message: string) => tell(message.slice(0, 300));
  const silent = () => undefined;
  diag.setLogger(
    { error: told, warn: told, info: silent, debug: silent, verbose: silent },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
}
