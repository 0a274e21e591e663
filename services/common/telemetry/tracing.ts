import type { Attributes, Context, Link, Span, SpanKind } from '@opentelemetry/api';

/** What a span is begun with. */
export interface SpanStart {
  readonly kind?: SpanKind;
  readonly attributes?: Attributes;
  readonly links?: Link[];
  /** What it is part of; undefined begins a trace. */
  readonly parent: Context | undefined;
}

/**
 * Spans of one process, and what carries them from one process to the next: a
 * W3C Trace Context in the metadata of a call. Secrets, Key_stream_IDs and
 * names of applications never go into a span.
 */
export interface Tracing {
  /** A span, or undefined where its trace is not recorded. */
  start(name: string, options: SpanStart): Span | undefined;
  /** What is being done now; undefined where no span is around it that is recorded and has not ended. */
  active(): Context | undefined;
  /** Of the trace of what is being done now, 32 hexadecimal digits; undefined where nothing is recorded. */
  traceId(this: void): string | undefined;
  /** `span` within what is being done now. */
  within(span: Span): Context;
  /** Does `act`, and whatever follows from it, as part of `context`. */
  run<T>(context: Context, act: () => T): T;
  /** What the caller has sent along; undefined where that is nothing, or is not recorded. */
  extract(metadata: { get(name: string): unknown }): Context | undefined;
  /** Sends `context` along. */
  inject(context: Context, metadata: { set(name: string, value: string): unknown }): void;
}
