import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import type { Resource } from '@opentelemetry/resources';
import { MeterProvider, MetricReader, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { DurationHistograms } from '#common/telemetry/duration-histograms.ts';
import { EXPORT_TIMEOUT_MS, exporterOptions, type OtlpConfig } from '#common/telemetry/otlp.ts';
import type { Telemetry } from '#common/telemetry/telemetry.ts';
import { systemClock } from '#common/time/clock.ts';

/** However often somebody asks, metrics are collected once in this time. */
const FRESH_MS = 1_000;

/** Which of the resource's attributes every sample carries. */
const SAMPLE_LABELS = /^service\.name$/;

export interface MetricPipeline extends Pick<Telemetry, 'meter' | 'durations'> {
  exposition(): Promise<string>;
  close(): Promise<void>;
}

/** Collects when it is asked, and sends nothing by itself. */
class PullReader extends MetricReader {
  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }

  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
}

/** Metrics for whoever asks, and to a collector where one is configured. */
export function createMetricPipeline(resource: Resource, otlp: OtlpConfig | undefined): MetricPipeline {
  const histograms = new DurationHistograms(resource);
  const metricProducers = [histograms];
  const pull = new PullReader({ metricProducers });
  const push =
    otlp &&
    new PeriodicExportingMetricReader({
      metricProducers,
      exporter: new OTLPMetricExporter(exporterOptions(otlp, 'metrics')),
      exportIntervalMillis: otlp.interval,
      exportTimeoutMillis: Math.min(otlp.interval, EXPORT_TIMEOUT_MS),
    });
  const provider = new MeterProvider({ resource, readers: push ? [pull, push] : [pull] });
  const serializer = new PrometheusSerializer(undefined, false, SAMPLE_LABELS, false, true);
  let text: Promise<string> | undefined;
  let collectedMs = 0;

  async function collect(): Promise<string> {
    const { resourceMetrics } = await pull.collect();
    return `${serializer.serialize(resourceMetrics)}\n`;
  }

  return {
    meter: provider.getMeter('keyweave'),
    durations: (name, description) => histograms.create(name, description),
    exposition: () => {
      const now = systemClock.monotonicMs();
      if (text === undefined || now - collectedMs >= FRESH_MS) {
        collectedMs = now;
        text = collect();
      }
      return text;
    },
    close: () => provider.shutdown(),
  };
}
