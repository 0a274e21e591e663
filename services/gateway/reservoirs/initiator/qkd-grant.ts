import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { QkdSequence } from '../../clients/qkd-sequence.ts';
import type { Taker } from './fair-shares.ts';
import type { InitiatorEpoch } from './initiator-epoch.ts';

/** A stream that makes chunks of QKD keys; it gets them here, and hands them back or on. */
export interface QkdTaker extends Taker {
  /** Keys are going to be read: whoever would want some soon may ask for them at once. */
  invite(): void;
  granted(grant: QkdGrant): void;
  /** There are none; who wants them nevertheless asks again. */
  qkdFailed(error: KeyweaveError): void;
  /** Something stands in for keys that cannot be had: it waits for none. */
  readonly replaceable: boolean;
  /** Keys a second that its min_bps promises. */
  readonly promised: number;
  /** It waits since there are too few: nothing is to be made ahead. */
  qkdScarce(why: KeyweaveError): void;
}

/** Keys for one batch; whoever holds it has to `use`, `giveBack` or `burn` it. */
export interface QkdGrant {
  readonly epoch: InitiatorEpoch;
  /** The epoch's stream at the key manager. */
  readonly sequence: QkdSequence;
  readonly first: number;
  readonly keys: Buffer;
  readonly sinceMs: number;
}
