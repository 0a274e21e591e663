import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Failure } from '#gen/keyweave/v1/common.ts';
import type { SourceKind } from '../streams/policy/lacking.ts';

/** What says that pqc-source is not there or broken, and not that it has too much to do or was asked for what is wrong. */
const PQC_IS_AWAY = ['SERVICE_UNAVAILABLE', 'SHUTTING_DOWN', 'TIMEOUT', 'INTERNAL'] as const;

/** Trouble of the QKD keys: of all streams of a link, where they share them. */
export const OF_QKD = ['QKD_OUT_OF_STEP', 'QKD_UNAVAILABLE', 'INSUFFICIENT_KEY'] as const;

/** pqc-source of either end has failed a batch. */
export class MissingPqcError extends KeyweaveError {
  constructor(cause: KeyweaveError) {
    super(cause.reason, cause.detail, { cause });
  }
}

/** What pqc-source has thrown, as what it means for the sources of a batch. */
export function ofPqc(thrown: unknown): KeyweaveError {
  const error = KeyweaveError.from(thrown);
  return isReason(error, ...PQC_IS_AWAY) ? new MissingPqcError(error) : error;
}

/** The failure of the other end's half of a batch; `lacks` is what it says of its own sources. */
export function ofOtherEnd(failure: Failure, lacks: { readonly pqc: boolean } | undefined): KeyweaveError {
  const error = errorOf(failure);
  return lacks?.pqc ? ofPqc(error) : error;
}

/** The kind of sources that a batch has failed for; undefined where it has failed for something else. */
export function missingKind(error: KeyweaveError): SourceKind | undefined {
  if (error instanceof MissingPqcError) return 'pqc';
  return isReason(error, ...OF_QKD) ? 'qkd' : undefined;
}
