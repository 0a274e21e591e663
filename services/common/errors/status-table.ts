import type { status } from '@grpc/grpc-js';

/** Status values of ETSI GS QKD 004 V2.1.1, clause 6.1 Table 2. */
export const ETSI004_STATUS = {
  SUCCESS: 0,
  PEER_NOT_CONNECTED: 1,
  INSUFFICIENT_KEY: 2,
  PEER_APPLICATION_NOT_CONNECTED: 3,
  NO_QKD_CONNECTION: 4,
  KSID_IN_USE: 5,
  TIMEOUT: 6,
  QOS_NOT_MET: 7,
  METADATA_TOO_SMALL: 8,
} as const;

export type Etsi004Status = (typeof ETSI004_STATUS)[keyof typeof ETSI004_STATUS];

/** Statuses of gRPC by their names there. Written out, so that who speaks another protocol needs no gRPC. */
const grpcStatus = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
} as const satisfies { readonly [name in keyof typeof status]?: (typeof status)[name] };

type GrpcStatus = (typeof grpcStatus)[keyof typeof grpcStatus];

interface StatusRow {
  readonly grpc: GrpcStatus;
  readonly etsi004: Etsi004Status;
  readonly http: number;
  readonly retryable: boolean;
}

const row = (grpc: GrpcStatus, etsi004: Etsi004Status, http: number, retryable = false): StatusRow => ({
  grpc,
  etsi004,
  http,
  retryable,
});

const E = ETSI004_STATUS;

/**
 * Every reason with its status in every protocol; a reason that is not here
 * does not compile. ETSI 004 has no "bad request" and no "not allowed": the
 * nearest integers are 4 (nothing usable named) and 1 for the seed's fatal
 * errors.
 */
export const STATUS_TABLE = {
  /** The request cannot be read, lacks a member or has one of the wrong type or range. */
  BAD_REQUEST: row(grpcStatus.INVALID_ARGUMENT, E.PEER_NOT_CONNECTED, 400),
  /** A URI that is malformed, names no node that this one serves, or an untrusted peer. */
  NO_ROUTE: row(grpcStatus.FAILED_PRECONDITION, E.NO_QKD_CONNECTION, 400),
  /** A KEM, method, source or URI parameter that nobody knows, that no engine here can do, or that gives no sound key. */
  UNSUPPORTED: row(grpcStatus.UNIMPLEMENTED, E.QOS_NOT_MET, 400),
  /** The QoS cannot be met; a counter-proposal goes with the answer. */
  QOS_NOT_MET: row(grpcStatus.OUT_OF_RANGE, E.QOS_NOT_MET, 400),
  /** The nodes mean different things: revisions or sizes of an algorithm, protocol versions, an offer that is not what the URI says. */
  REVISION_MISMATCH: row(grpcStatus.FAILED_PRECONDITION, E.QOS_NOT_MET, 400),
  KSID_IN_USE: row(grpcStatus.ALREADY_EXISTS, E.KSID_IN_USE, 409),
  UNKNOWN_STREAM: row(grpcStatus.NOT_FOUND, E.PEER_APPLICATION_NOT_CONNECTED, 404),
  /** A gRPC service that this server does not have. */
  UNKNOWN_SERVICE: row(grpcStatus.NOT_FOUND, E.PEER_NOT_CONNECTED, 404),
  /** The peer's application has not opened, or has closed. */
  PEER_APPLICATION_ABSENT: row(grpcStatus.FAILED_PRECONDITION, E.PEER_APPLICATION_NOT_CONNECTED, 409, true),
  /** The peer node cannot be reached. */
  PEER_UNREACHABLE: row(grpcStatus.UNAVAILABLE, E.PEER_NOT_CONNECTED, 503, true),
  /** A service of the own node cannot be reached. */
  SERVICE_UNAVAILABLE: row(grpcStatus.UNAVAILABLE, E.PEER_NOT_CONNECTED, 503, true),
  /** A source has run dry, or the index cannot be had. */
  INSUFFICIENT_KEY: row(grpcStatus.RESOURCE_EXHAUSTED, E.INSUFFICIENT_KEY, 503, true),
  /** One end holds as many unread keys as it may: no fault of any source, and over once its application reads. */
  NO_ROOM: row(grpcStatus.RESOURCE_EXHAUSTED, E.INSUFFICIENT_KEY, 503, true),
  /** The key manager cannot be reached, refuses or misbehaves. */
  QKD_UNAVAILABLE: row(grpcStatus.UNAVAILABLE, E.NO_QKD_CONNECTION, 503, true),
  /** The QKD stream at this end may have lost step with the other end. */
  QKD_OUT_OF_STEP: row(grpcStatus.ABORTED, E.TIMEOUT, 503, true),
  /** A source gave what no sound source gives: equal or empty secrets. */
  SOURCE_FAULT: row(grpcStatus.ABORTED, E.NO_QKD_CONNECTION, 503, true),
  /** A KEM or key derivation failed, or the two ends do not agree; one reason, so that nothing can be learnt. */
  AGREEMENT_FAILED: row(grpcStatus.ABORTED, E.TIMEOUT, 503, true),
  TIMEOUT: row(grpcStatus.DEADLINE_EXCEEDED, E.TIMEOUT, 504, true),
  METADATA_TOO_SMALL: row(grpcStatus.OUT_OF_RANGE, E.METADATA_TOO_SMALL, 400),
  /** The caller's certificate does not allow this call. */
  NOT_ALLOWED: row(grpcStatus.PERMISSION_DENIED, E.NO_QKD_CONNECTION, 401),
  /** A limit on rates, sizes or counts of this node. */
  LIMIT_EXCEEDED: row(grpcStatus.RESOURCE_EXHAUSTED, E.PEER_NOT_CONNECTED, 429, true),
  SHUTTING_DOWN: row(grpcStatus.UNAVAILABLE, E.PEER_NOT_CONNECTED, 503, true),
  /** A configuration file or certificate that keeps a service from starting. */
  BAD_CONFIG: row(grpcStatus.FAILED_PRECONDITION, E.PEER_NOT_CONNECTED, 500),
  INTERNAL: row(grpcStatus.INTERNAL, E.PEER_NOT_CONNECTED, 500),
} as const satisfies Record<string, StatusRow>;

export type ErrorReason = keyof typeof STATUS_TABLE;

/** Narrows a string from the wire to a reason of ours. */
export function isErrorReason(text: string): text is ErrorReason {
  return Object.hasOwn(STATUS_TABLE, text);
}
