import {
  type Context,
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  TraceFlags,
  trace,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import type { Resource } from '@opentelemetry/resources';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type SpanExporter,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { EXPORT_TIMEOUT_MS, exporterOptions, type OtlpConfig } from '#common/telemetry/otlp.ts';
import type { Tracing } from '#common/telemetry/tracing.ts';

/** Spans that wait to be sent; what is more is dropped, so that nobody fills the memory by asking for traces. */
const MAX_WAITING_SPANS = 4_096;
const SEND_EVERY_MS = 5_000;

/** No span of ours has more or longer ones; a guard. */
const SPAN_LIMITS = {
  attributeCountLimit: 24,
  attributeValueLengthLimit: 128,
  linkCountLimit: 32,
  eventCountLimit: 8,
};

export interface TracePipeline {
  readonly tracing: Tracing;
  /** Sends what has ended. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Traces to a collector. What begins here is recorded by chance, `ratio` of
 * it; what somebody else has begun is recorded where they record it.
 */
export function createTracePipeline(resource: Resource, ratio: number, otlp: OtlpConfig): TracePipeline {
  return tracePipelineTo(new OTLPTraceExporter(exporterOptions(otlp, 'traces')), resource, ratio);
}

/** The same to any exporter. */
export function tracePipelineTo(exporter: SpanExporter, resource: Resource, ratio: number): TracePipeline {
  const provider = new TracerProvider({
    resource,
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
    spanLimits: SPAN_LIMITS,
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        maxQueueSize: MAX_WAITING_SPANS,
        scheduledDelayMillis: SEND_EVERY_MS,
        exportTimeoutMillis: EXPORT_TIMEOUT_MS,
      }),
    ],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const tracer = provider.getTracer('keyweave');
  const propagator = new W3CTraceContextPropagator();

  const tracing: Tracing = {
    start: (name, start) => {
      // Drawn before anything is made: every key asks.
      if (start.parent === undefined && Math.random() >= ratio) return undefined;
      const { parent, ...options } = start;
      const span = tracer.startSpan(name, options, parent ?? ROOT_CONTEXT);
      return span.isRecording() ? span : undefined;
    },
    active: () => {
      const now = context.active();
      // What a request has set off goes on in its context for as long as it likes: not in its trace.
      return trace.getSpan(now)?.isRecording() ? now : undefined;
    },
    traceId: () => {
      const span = trace.getSpan(context.active());
      return span?.isRecording() ? span.spanContext().traceId : undefined;
    },
    within: (span) => trace.setSpan(context.active(), span),
    run: (within, act) => context.with(within, act),
    extract: (metadata) =>
      recorded(
        propagator.extract(ROOT_CONTEXT, metadata, {
          keys: () => ['traceparent'],
          get: (carrier, key) => {
            // What another vendor's systems add is not passed on.
            const value = key === 'traceparent' ? carrier.get(key) : undefined;
            return typeof value === 'string' ? value : undefined;
          },
        }),
      ),
    inject: (within, metadata) =>
      propagator.inject(within, metadata, {
        set: (carrier, key, value) => {
          if (key === 'traceparent') carrier.set(key, value);
        },
      }),
  };
  return {
    tracing,
    flush: () => provider.forceFlush(),
    close: async () => {
      await provider.shutdown();
      context.disable();
    },
  };
}

/** The context, provided that its span is recorded. */
function recorded(within: Context): Context | undefined {
  const spanContext = trace.getSpanContext(within);
  if (!spanContext || !isSpanContextValid(spanContext)) return undefined;
  return (spanContext.traceFlags & TraceFlags.SAMPLED) === 0 ? undefined : within;
}
