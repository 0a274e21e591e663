import { resourceFromAttributes } from '@opentelemetry/resources';
import { InMemorySpanExporter, type ReadableSpan } from '@opentelemetry/sdk-trace';
import { createMetricPipeline } from '#common/telemetry/metric-pipeline.ts';
import { createRpcTelemetry } from '#common/telemetry/rpc-telemetry.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';
import { tracePipelineTo } from '#common/telemetry/trace-pipeline.ts';

export interface TelemetryOfTest {
  readonly telemetry: Telemetry;
  /** Samples by name and labels, as they are exposed, without the label that is the same on all. */
  samples(): Promise<ReadonlyMap<string, number>>;
  /** Spans that have ended, in the order of their ending. */
  spans(): Promise<readonly ReadableSpan[]>;
  close(): Promise<void>;
}

/** Telemetry whose metrics and spans a test looks at; one at a time, since the context of a span is the process's. */
export function telemetryOfTest(ratio = 1): TelemetryOfTest {
  const resource = resourceFromAttributes({ 'service.name': 'test' });
  const metrics = createMetricPipeline(resource, undefined);
  const exporter = new InMemorySpanExporter();
  const traces = tracePipelineTo(exporter, resource, ratio);
  const close = async () => {
    await metrics.close();
    await traces.close();
  };
  return {
    telemetry: {
      meter: metrics.meter,
      durations: metrics.durations,
      tracing: traces.tracing,
      rpc: createRpcTelemetry(metrics, traces.tracing),
      exposition: metrics.exposition,
      observeCertificates: () => undefined,
      close,
    },
    samples: async () => samplesIn(await metrics.exposition()),
    spans: async () => {
      await traces.flush();
      return exporter.getFinishedSpans();
    },
    close,
  };
}

/** Samples of an exposition by name and labels. */
export function samplesIn(exposition: string): ReadonlyMap<string, number> {
  const lines = exposition.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ');
      const name = line
        .slice(0, at)
        .replace(/,?service_name="test"/, '')
        .replace('{}', '');
      return [name, Number(line.slice(at + 1))];
    }),
  );
}
