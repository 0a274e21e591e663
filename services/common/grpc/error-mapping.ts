import { status as grpcStatus } from '@grpc/grpc-js';

import {
  type CallContext,
  type CallOptions,
  ClientError,
  type ClientMiddleware,
  type Metadata,
  ServerError,
  type ServerMiddleware,
} from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type ErrorReason, isErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
import { STATUS_DETAILS_TRAILER, statusDetails } from '#common/grpc/wire/error-info.ts';
import type { Log } from '#common/log/log.ts';

/** Trailer that carries the reason's name, so that an error keeps its identity over any number of hops. */
export const REASON_TRAILER = 'keyweave-reason';

/**
 * Turns what a handler throws into a status with our reason, and with
 * google.rpc.ErrorInfo where `details` are wanted; anything unexpected
 * is logged and hidden.
 */
export function errorMappingServerMiddleware(
  log: Log,
  options: { details?: boolean } = {},
): ServerMiddleware {
  return async function* mapErrors(call, context: CallContext) {
    try {
      return yield* call.next(call.request, context);
    } catch (thrown) {
      if (thrown instanceof Error && thrown.name === 'AbortError') throw thrown;
      const error = KeyweaveError.from(thrown);
      if (error.reason === 'INTERNAL') {
        log.error('a call failed unexpectedly', { method: call.method.path }, thrown);
      } else {
        log.debug('a call was refused', { method: call.method.path, reason: error.reason }, error);
      }
      context.trailer.set(REASON_TRAILER, error.reason);
      if (options.details) context.trailer.set(STATUS_DETAILS_TRAILER, statusDetails(error));
      throw new ServerError(STATUS_TABLE[error.reason].grpc, error.detail);
    }
  };
}

/**
 * Rebuilds the KeyweaveError of the far end. Errors that carry no reason of
 * ours come from the transport: `unreachable` says which reason those get.
 */
export function errorMappingClientMiddleware(unreachable: ErrorReason, target: string): ClientMiddleware {
  return async function* mapErrors(call, options: CallOptions) {
    let reason: string | undefined;
    const onTrailer = (trailer: Metadata) => {
      reason = trailer.get(REASON_TRAILER);
      options.onTrailer?.(trailer);
    };
    try {
      return yield* call.next(call.request, { ...options, onTrailer });
    } catch (thrown) {
      if (!(thrown instanceof ClientError)) throw thrown;
      if (reason !== undefined && isErrorReason(reason)) throw new KeyweaveError(reason, thrown.details);
      throw transportError(thrown, unreachable, target);
    }
  };
}

function transportError(error: ClientError, unreachable: ErrorReason, target: string): KeyweaveError {
  switch (Number(error.code)) {
    case grpcStatus.DEADLINE_EXCEEDED:
      return new KeyweaveError('TIMEOUT', `${target} did not answer in time`, { cause: error });
    case grpcStatus.PERMISSION_DENIED:
    case grpcStatus.UNAUTHENTICATED:
      return new KeyweaveError('NOT_ALLOWED', `${target} refused this caller`, { cause: error });
    case grpcStatus.RESOURCE_EXHAUSTED:
      return new KeyweaveError('LIMIT_EXCEEDED', `a message to or from ${target} is over the limit`, {
        cause: error,
      });
    default:
      return new KeyweaveError(unreachable, `${target} cannot be reached`, { cause: error });
  }
}
