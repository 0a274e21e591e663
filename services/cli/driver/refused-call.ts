import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { JsonAnswer } from '#common/etsi/etsi004-json-codec.ts';

/** A call that the node answered with a status that is no success. */
export class RefusedCall extends KeyweaveError {
  readonly call: string;
  readonly status: number;

  constructor(call: string, { status, message }: JsonAnswer) {
    super('SERVICE_UNAVAILABLE', `${call} was answered with status ${status}: ${message}`);
    this.name = 'RefusedCall';
    this.call = call;
    this.status = status;
  }
}
