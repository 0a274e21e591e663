import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** A request that says what cannot be: the message of the answer, and its details. */
export class BadRequestError extends KeyweaveError {
  readonly details: readonly Readonly<Record<string, string>>[];

  constructor(message: string, details: readonly Readonly<Record<string, string>>[] = []) {
    super('BAD_REQUEST', message);
    this.details = details;
  }
}
