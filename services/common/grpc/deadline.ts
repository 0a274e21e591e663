import type { CallOptions, ClientMiddleware } from 'nice-grpc';
import { Metadata } from 'nice-grpc';

/** Limit of a call that names none. */
const DEFAULT_TIMEOUT_MS = 5_000;

/** The same for handlers that relay the call, since the transport keeps `grpc-timeout` to itself. */
export const TIMEOUT_METADATA = 'keyweave-timeout-ms';

export interface DeadlineOptions {
  /** Milliseconds that the call may take; Infinity only for long-lived streams. */
  timeoutMs?: number;
}

/**
 * Gives every call a deadline that the server sees too: as `grpc-timeout`,
 * which the channel turns into a timer at both ends.
 */
export function deadlineClientMiddleware(): ClientMiddleware<DeadlineOptions> {
  return async function* setDeadline(call, options: CallOptions & DeadlineOptions) {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, ...rest } = options;
    if (timeoutMs === Number.POSITIVE_INFINITY) return yield* call.next(call.request, rest);
    const metadata = Metadata(options.metadata);
    const whole = Math.max(1, Math.ceil(timeoutMs));
    metadata.set('grpc-timeout', `${whole}m`);
    metadata.set(TIMEOUT_METADATA, `${whole}`);
    return yield* call.next(call.request, { ...rest, metadata });
  };
}
