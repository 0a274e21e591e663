import type { CallOptions, ClientMiddleware } from 'nice-grpc';
import { Metadata } from 'nice-grpc';

/** Limit of a call that names none. */
const DEFAULT_TIMEOUT_MS = 5_000;

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
    metadata.set('grpc-timeout', `${Math.max(1, Math.ceil(timeoutMs))}m`);
    return yield* call.next(call.request, { ...rest, metadata });
  };
}
