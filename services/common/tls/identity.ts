import type { ChannelCredentials, ServerCredentials } from '@grpc/grpc-js';

/** One service's certificate, key and CA, reloaded when the files change. */
export interface TlsIdentity {
  /** The SPIFFE URI of the own certificate. */
  readonly spiffeId: string;
  /** End of validity of the certificate in use, milliseconds since the epoch. */
  readonly notAfterMs: number;
  /** mTLS for a gRPC server: TLS 1.3, X25519MLKEM768 only, client certificate required. */
  serverCredentials(): ServerCredentials;
  /** mTLS towards the server whose certificate carries exactly `spiffeId`. */
  channelCredentials(spiffeId: string): ChannelCredentials;
  close(): void;
}
