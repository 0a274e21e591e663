import type { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** What an answer says of a failure; less than an error, which costs a stack. */
export type Fault = Pick<KeyweaveError, 'reason' | 'detail'>;
