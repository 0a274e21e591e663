import { readFileSync } from 'node:fs';
import type { SecureContextOptions } from 'node:tls';
import { type Call, failed } from '../key-stream-error.ts';

/** A path, or PEM itself, as text or in a buffer. Files are read at each connection, so that renewed ones count. */
export type Pem = string | Uint8Array;

/** TLS towards a listener. */
export interface ClientTls {
  /** The CAs, one of which has signed the listener's certificate. */
  readonly ca: Pem;
  /** The own certificate and its key, for a listener that asks for one. */
  readonly cert?: Pem | undefined;
  readonly key?: Pem | undefined;
  /** Name that the listener's certificate must carry; by default the host that is dialled. */
  readonly serverName?: string | undefined;
}

export interface NodeAddress {
  readonly host: string;
  readonly port: number;
  /** Absent: plain TCP. */
  readonly tls?: ClientTls | undefined;
}

/** `host:port`, for messages. */
export function placeOf({ host, port }: NodeAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The PEM of a TLS setting as it is now. @throws KeyStreamError BAD_OPTIONS naming the file. */
export function readTls(call: Call, { ca, cert, key }: ClientTls): SecureContextOptions & { ca: Buffer } {
  return {
    ca: readPem(call, 'ca', ca),
    ...(cert !== undefined && { cert: readPem(call, 'cert', cert) }),
    ...(key !== undefined && { key: readPem(call, 'key', key) }),
  };
}

function readPem(call: Call, what: string, pem: Pem): Buffer {
  if (typeof pem !== 'string') return Buffer.from(pem.buffer, pem.byteOffset, pem.byteLength);
  if (pem.trimStart().startsWith('-----BEGIN')) return Buffer.from(pem);
  try {
    return readFileSync(pem);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw failed('BAD_OPTIONS', call, `tls.${what}: ${pem} cannot be read (${code})`, { cause });
  }
}
