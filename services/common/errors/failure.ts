import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isErrorReason } from '#common/errors/status-table.ts';
import type { Failure } from '#gen/keyweave/v1/common.ts';

/** What one entry of a message says of its failure; nothing of an unexpected error but that there was one. */
export function failureOf(thrown: unknown): Failure {
  const { reason, detail } = KeyweaveError.from(thrown);
  return { reason, detail };
}

/** The error that an entry's failure stands for; words that nobody here knows become AGREEMENT_FAILED. */
export function errorOf({ reason, detail }: Failure): KeyweaveError {
  return new KeyweaveError(isErrorReason(reason) ? reason : 'AGREEMENT_FAILED', detail.slice(0, 1024));
}
