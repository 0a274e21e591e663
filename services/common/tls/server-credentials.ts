import type { SecureContextOptions } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';

/**
 * mTLS of a gRPC server whose files may change. Context options are spread
 * into the HTTP/2 server, which is how TLS version, group and handshake limit
 * get there.
 */
export class ReloadableServerCredentials extends ServerCredentials {
  constructor(context: SecureContextOptions, limitMs: number) {
    super({ ...context, requestCert: true, rejectUnauthorized: true, handshakeTimeout: limitMs }, context);
  }

  reload(context: SecureContextOptions): void {
    this.updateSecureContextOptions(context);
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}
