import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { KeyStreamError, type TroubleCode } from '../../client/main.ts';

/** A call that the node answered with a status that is no success. */
export class RefusedCall extends KeyweaveError {
  readonly call: string;
  readonly status: number;

  constructor(call: string, { status, message }: { readonly status: number; readonly message: string }) {
    super('SERVICE_UNAVAILABLE', `${call} was answered with status ${status}: ${message}`);
    this.name = 'RefusedCall';
    this.call = call;
    this.status = status;
  }
}

/** What is not simply that nobody answers. */
const REASONS: Partial<Record<TroubleCode, ErrorReason>> = {
  BAD_OPTIONS: 'BAD_REQUEST',
  BAD_ANSWER: 'QKD_UNAVAILABLE',
};

/** A failure of the client library as commands tell it; anything else as it is. */
export function commandFailure(thrown: unknown): unknown {
  if (!(thrown instanceof KeyStreamError)) return thrown;
  const { call, status, code, detail, message } = thrown;
  if (status !== undefined) return new RefusedCall(call, { status, message: detail });
  const reason = REASONS[code as TroubleCode] ?? 'SERVICE_UNAVAILABLE';
  return new KeyweaveError(reason, message, { cause: thrown.cause });
}
