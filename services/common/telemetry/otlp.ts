import { readFileSync } from 'node:fs';
import type { AgentOptions } from 'node:https';
import type { NodeConfig } from '#common/config/node-config.ts';

export type OtlpConfig = NonNullable<NonNullable<NodeConfig['telemetry']>['otlp']>;

/** Limit of one export, milliseconds. */
export const EXPORT_TIMEOUT_MS = 10_000;

/** Options of an exporter: of OTLP over HTTP in protobuf, by TLS 1.3 where the URL says https. */
export function exporterOptions(
  { endpoint, ca_path, cert_path, key_path }: OtlpConfig,
  signal: 'metrics' | 'traces',
) {
  const tls: AgentOptions = {
    keepAlive: true,
    minVersion: 'TLSv1.3',
    ...(ca_path !== undefined && { ca: readFileSync(ca_path) }),
    ...(cert_path !== undefined && { cert: readFileSync(cert_path) }),
    ...(key_path !== undefined && { key: readFileSync(key_path) }),
  };
  return {
    url: `${endpoint.replace(/\/+$/, '')}/v1/${signal}`,
    timeoutMillis: EXPORT_TIMEOUT_MS,
    ...(endpoint.startsWith('https:') && { httpAgentOptions: tls }),
  };
}
