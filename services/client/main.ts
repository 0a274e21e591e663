/**
 * Keys of a node for applications: ETSI GS QKD 004 V2.1.1 over JSON, the
 * binary protocol or gRPC. README.md beside this file is its manual.
 */
export { Secret } from '#common/crypto/secret.ts';
export {
  type ClientOptions,
  createClient,
  type KeyStreamClient,
  type OpenOptions,
  type TransportName,
} from './client.ts';
export { DeliveredKey, type KeyMetadata } from './delivered-key.ts';
export type { CallOptions, KeyStream, StreamHandle } from './key-stream.ts';
export {
  type Call,
  KeyStreamError,
  type KeyStreamErrorCode,
  type RefusalCode,
  type TroubleCode,
} from './key-stream-error.ts';
export type { RetryOptions } from './persistence.ts';
export type { QualityOfService } from './quality-of-service.ts';
export type { ClientTls, Pem } from './transports/node-address.ts';
