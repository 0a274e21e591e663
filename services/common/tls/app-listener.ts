import { readFileSync } from 'node:fs';
import type { TlsOptions } from 'node:tls';
import type { NodeConfig } from '#common/config/node-config.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';

/**
 * TLS of a listener that applications reach: TLS 1.3, the hybrid group first
 * and X25519 for clients that have nothing better.
 */
export function appListenerTlsOptions(config: NodeConfig, mutual: boolean): TlsOptions {
  const { caPath, certPath, keyPath } = certificateFiles(config, 'gateway');
  return {
    ca: readFileSync(caPath),
    cert: readFileSync(certPath),
    key: readFileSync(keyPath),
    minVersion: 'TLSv1.3',
    ecdhCurve: 'X25519MLKEM768:X25519',
    requestCert: mutual,
    rejectUnauthorized: mutual,
  };
}
