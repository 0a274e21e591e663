import { type ErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';

/**
 * The one error that crosses functions, services and listeners.
 *
 * `detail` is public: it names the offending thing and what to do, and never
 * holds key material. `cause` is for the log only.
 */
export class KeyweaveError extends Error {
  readonly reason: ErrorReason;
  readonly detail: string;

  constructor(reason: ErrorReason, detail: string, options: { cause?: unknown } = {}) {
    super(`${reason}: ${detail}`, options);
    this.name = 'KeyweaveError';
    this.reason = reason;
    this.detail = detail;
  }

  /** Whether the same call may succeed later without anybody changing anything. */
  get retryable(): boolean {
    return STATUS_TABLE[this.reason].retryable;
  }

  /** Wraps whatever was thrown; an error of ours passes unchanged, anything else hides behind INTERNAL. */
  static from(thrown: unknown): KeyweaveError {
    if (thrown instanceof KeyweaveError) return thrown;
    return new KeyweaveError('INTERNAL', 'internal error; see the log of the service', { cause: thrown });
  }
}

/** True when `thrown` is a KeyweaveError of one of `reasons`. */
export function isReason(thrown: unknown, ...reasons: ErrorReason[]): boolean {
  return thrown instanceof KeyweaveError && reasons.includes(thrown.reason);
}
