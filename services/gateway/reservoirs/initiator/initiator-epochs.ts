import type { ReservoirAccount } from '../reservoir-account.ts';
import type { InitiatorEpoch } from './initiator-epoch.ts';

/** Makes an epoch of that number, whose keys are read in blocks of so many. */
type MakeEpoch = (number: number, blockKeys: number) => InitiatorEpoch;

/** The epoch that a reservoir reads, and the one before it while keys of it are left. */
export class InitiatorEpochs {
  readonly #make: MakeEpoch;
  readonly #account: ReservoirAccount;
  #current: InitiatorEpoch;
  #older: InitiatorEpoch | undefined;

  constructor(make: MakeEpoch, firstEpoch: number, account: ReservoirAccount) {
    this.#make = make;
    this.#account = account;
    this.#current = make(firstEpoch, 1);
  }

  get current(): InitiatorEpoch {
    return this.#current;
  }

  get older(): InitiatorEpoch | undefined {
    return this.#older;
  }

  /** Those that there are, the older first. */
  get all(): InitiatorEpoch[] {
    return this.#older ? [this.#older, this.#current] : [this.#current];
  }

  /** Keys that were read and not granted. */
  get held(): number {
    return this.all.reduce((sum, { held }) => sum + held.count, 0);
  }

  /** When the key that has lain longest came, monotonic milliseconds; undefined where none is held. */
  get oldestMs(): number | undefined {
    const times = this.all.flatMap(({ held }) => held.oldestMs ?? []);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Begins the next epoch; what is held of this one is used up first. */
  follow(blockKeys: number): void {
    this.endOlder('an epoch has followed its follower');
    this.#older = this.#current;
    this.#current = this.#make(this.#older.sequence.name.epoch + 1, blockKeys);
  }

  /** Begins the next epoch and burns what is held of both others. */
  renew(blockKeys: number, why: string): void {
    this.follow(blockKeys);
    this.endOlder(why);
  }

  endOlder(why: string): void {
    if (this.#older) this.#account.burned(this.#older.end(), why);
    this.#older = undefined;
  }

  /** Wipes what came before `ms` of the monotonic clock. */
  burnOlder(ms: number): void {
    for (const { held } of this.all) this.#account.burned(held.burnOlder(ms), 'too old');
  }

  /** Wipes all and leaves the key manager. */
  end(why: string): void {
    this.endOlder(why);
    this.#account.burned(this.#current.end(), why);
  }
}
