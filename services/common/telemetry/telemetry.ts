import type { Meter } from '@opentelemetry/api';
import type { MakeDurations } from '#common/telemetry/durations.ts';
import type { RpcTelemetry } from '#common/telemetry/rpc-telemetry.ts';
import type { Tracing } from '#common/telemetry/tracing.ts';
import type { DatedCertificate } from '#common/tls/certificate-dates.ts';

/**
 * What a process tells of itself: metrics and traces. There is none unless it
 * is configured, and then none of its libraries is loaded.
 */
export interface Telemetry {
  /** Makes instruments; ones that do nothing where metrics are off. */
  readonly meter: Meter;
  /** Makes a histogram of what every key or call pays for, which costs next to nothing. */
  readonly durations: MakeDurations;
  /** Undefined where nothing is traced. */
  readonly tracing: Tracing | undefined;
  /** For the one server builder and the one client factory. */
  readonly rpc: RpcTelemetry;
  /**
   * The metrics now, in Prometheus' text format 0.0.4; undefined where they
   * are off. However often it is asked, they are collected once a second.
   */
  readonly exposition: (() => Promise<string>) | undefined;
  /** Has metrics tell until when these are good. */
  observeCertificates(certificates: () => readonly DatedCertificate[]): void;
  /** Sends what is left, within a limit of time; never rejects. */
  close(): Promise<void>;
}
