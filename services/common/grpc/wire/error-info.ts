import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { STATUS_TABLE } from '#common/errors/status-table.ts';

/** Trailer in which gRPC carries a google.rpc.Status. */
export const STATUS_DETAILS_TRAILER = 'grpc-status-details-bin';

const DOMAIN = 'keyweave';
const TYPE_URL = 'type.googleapis.com/google.rpc.ErrorInfo';

/** A google.rpc.Status with one google.rpc.ErrorInfo: the reason, and what its row says (google/rpc/error_details.proto). */
export function statusDetails({ reason, detail }: KeyweaveError): Uint8Array {
  const { grpc, etsi004, retryable } = STATUS_TABLE[reason];
  const info = new BinaryWriter().uint32(0x0a).string(reason).uint32(0x12).string(DOMAIN);
  const facts = [
    ['etsi004_status', String(etsi004)],
    ['retryable', String(retryable)],
  ] as const;
  for (const [key, value] of facts)
    info.uint32(0x1a).fork().uint32(0x0a).string(key).uint32(0x12).string(value).join();
  const any = new BinaryWriter().uint32(0x0a).string(TYPE_URL).uint32(0x12).bytes(info.finish());
  return new BinaryWriter()
    .uint32(0x08)
    .int32(grpc)
    .uint32(0x12)
    .string(detail)
    .uint32(0x1a)
    .bytes(any.finish())
    .finish();
}
