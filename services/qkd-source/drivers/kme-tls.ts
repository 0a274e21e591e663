import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

type TlsSettings = NonNullable<NodeConfig['qkd']['tls']>;

/** What `qkd.tls` says of a connection to the key manager; the files are read anew, so that renewed ones need no restart. */
export function tlsContext(tls: TlsSettings): SecureContextOptions {
  return {
    minVersion: 'TLSv1.2',
    ca: readFileSync(tls.ca_path),
    ...(tls.cert_path === undefined ? {} : { cert: readFileSync(tls.cert_path) }),
    ...(tls.key_path === undefined ? {} : { key: readFileSync(tls.key_path) }),
  };
}

/** @throws KeyweaveError BAD_CONFIG when the files are not usable. */
export function assertUsable(tls: TlsSettings | undefined): void {
  if (!tls) return;
  try {
    createSecureContext(tlsContext(tls));
  } catch (cause) {
    throw new KeyweaveError('BAD_CONFIG', `qkd.tls: ${(cause as Error).message}`, { cause });
  }
}
