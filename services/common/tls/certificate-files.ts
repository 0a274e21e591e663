import { dirname, extname, join } from 'node:path';
import type { NodeConfig } from '#common/config/node-config.ts';

export interface CertificateFiles {
  readonly caPath: string;
  readonly certPath: string;
  readonly keyPath: string;
  /** Revocation lists of the CAs; absent = nothing is revoked. */
  readonly crlPath?: string | undefined;
}

/**
 * Where a service's certificate and key are: `cert_path` and `key_path` are the
 * peer-broker's, the others' lie beside them, named after the service.
 */
export function certificateFiles(config: NodeConfig, service: string): CertificateFiles {
  const { cert_authority_path: caPath, cert_path, key_path, crl_path: crlPath } = config.certificate_config;
  const network = { caPath, ...(crlPath !== undefined && { crlPath }) };
  if (service === 'peer-broker') return { ...network, certPath: cert_path, keyPath: key_path };
  return {
    ...network,
    certPath: join(dirname(cert_path), `${service}.crt`),
    keyPath: join(dirname(key_path), `${service}.key`),
  };
}

/** The CA's key: beside the CA's certificate, with the ending .key. */
export function caKeyPath(caPath: string): string {
  return `${caPath.slice(0, caPath.length - extname(caPath).length)}.key`;
}
