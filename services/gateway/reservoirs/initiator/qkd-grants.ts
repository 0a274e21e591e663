import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import { wipe } from '#common/crypto/bytes.ts';
import type { ReservoirAccount } from '../reservoir-account.ts';
import type { InitiatorEpoch } from './initiator-epoch.ts';
import type { QkdGrant } from './qkd-grant.ts';

/** The grants of a reservoir that nobody has settled: their keys are under way, or wait for their round. */
export class QkdGrants {
  readonly #account: ReservoirAccount;
  readonly #granted = new Set<QkdGrant>();

  constructor(account: ReservoirAccount) {
    this.#account = account;
  }

  add(grant: QkdGrant): void {
    this.#granted.add(grant);
  }

  isUnderWay(epoch: InitiatorEpoch): boolean {
    return this.lowest(epoch) !== Number.POSITIVE_INFINITY;
  }

  /** Number of the first key of an epoch that is under way; Infinity for none. */
  lowest(epoch: InitiatorEpoch): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const grant of this.#granted) if (grant.epoch === epoch) lowest = Math.min(lowest, grant.first);
    return lowest;
  }

  /** Its keys from number `from` of it on go back to its epoch, or are burned where that was left; those before are the caller's. */
  settle(grant: QkdGrant, from: number): void {
    if (!this.#granted.delete(grant)) throw new TypeError('a grant is settled once');
    const rest = grant.keys.subarray(from * QKD_SECRET_BYTES);
    if (rest.length === 0) return;
    if (!grant.sequence.ended) {
      grant.epoch.held.add(grant.first + from, rest, grant.sinceMs);
      return;
    }
    wipe(rest);
    this.#account.burned(rest.length / QKD_SECRET_BYTES, 'its epoch was left');
  }
}
