import type { QuotaConfig } from '#common/config/access/access-section.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { TokenBucket } from '#common/limits/token-bucket.ts';
import type { Clock } from '#common/time/clock.ts';
import type { ListenerStreams } from '../../delivery/listener-streams.ts';
import type { KeyKind } from './key-kinds.ts';
import type { Party } from './parties.ts';

/** Calls of one party that wait for keys at most. */
const MAX_WAITING = 64;

export interface PartyQuotasOptions {
  readonly kind: Pick<KeyKind, 'party'>;
  /** What the listener's settings say of each party, by its ID. */
  readonly parties: Readonly<Record<string, { readonly quota?: QuotaConfig | undefined }>>;
  /** What a party may take of which they say nothing. */
  readonly defaults: QuotaConfig | undefined;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Learns what is refused here: the delivery never hears of it. */
  readonly streams: Pick<ListenerStreams, 'refused'>;
}

/** Who asks: one of the parties, from where. */
export interface Asking {
  readonly party: Pick<Party, 'id'>;
  readonly address: string;
}

/** What one party has of its quota. */
interface Account {
  readonly keys: TokenBucket;
  readonly keysPerSecond: number | undefined;
  readonly maxWaiting: number;
  waiting: number;
}

/** What the parties of this node may take: keys a second, and calls that wait. */
export class PartyQuotas {
  readonly #o: PartyQuotasOptions;
  /** By ID; there are no others than those of the configuration. */
  readonly #accounts = new Map<string, Account>();

  constructor(options: PartyQuotasOptions) {
    this.#o = options;
  }

  /**
   * Counts so many keys that a party is given; more than it may have in a
   * second it gets when it has had none for one, and pays for them afterwards.
   * Nothing is counted where `give` throws, or its promise rejects.
   *
   * @throws KeyweaveError INSUFFICIENT_KEY where it has had too many lately, and as `give`.
   */
  given<T>(asking: Asking, keys: number, give: () => T): T {
    this.#take(asking, keys);
    const refund = () => this.#of(asking.party.id).keys.refund(keys);
    try {
      const gift = give();
      if (gift instanceof Promise) gift.catch(refund);
      return gift;
    } catch (thrown) {
      refund();
      throw thrown;
    }
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED where as many calls of the party wait as may. */
  assertMayWait(asking: Asking): void {
    const { waiting, maxWaiting } = this.#of(asking.party.id);
    if (waiting < maxWaiting) return;
    const detail = `${maxWaiting} calls of this ${this.#o.kind.party} wait for keys`;
    throw this.told(asking, new KeyweaveError('LIMIT_EXCEEDED', detail));
  }

  /** Counts a call that waits until it does no more. */
  async waits<T>({ party }: Asking, work: Promise<T>): Promise<T> {
    const account = this.#of(party.id);
    account.waiting += 1;
    try {
      return await work;
    } finally {
      account.waiting -= 1;
    }
  }

  /** Counts and logs a key that a party is refused as any other refusal. @returns the error. */
  told<E extends KeyweaveError>({ party, address }: Asking, error: E): E {
    this.#o.streams.refused({ identity: party.id, address }, error);
    return error;
  }

  #take(asking: Asking, keys: number): void {
    const { keys: bucket, keysPerSecond } = this.#of(asking.party.id);
    const nowMs = this.#o.clock.monotonicMs();
    const delayMs = bucket.delayMs(nowMs, keys);
    if (delayMs > 0) {
      const detail = `this ${this.#o.kind.party} is given ${keysPerSecond} keys a second; ask for ${keys} again in ${delayMs} ms`;
      throw this.told(asking, new KeyweaveError('INSUFFICIENT_KEY', detail));
    }
    bucket.take(nowMs, keys);
  }

  #of(party: string): Account {
    const known = this.#accounts.get(party);
    if (known) return known;
    const { parties, defaults } = this.#o;
    const { keys_per_second: keysPerSecond, waiting_requests: most = MAX_WAITING } = {
      ...defaults,
      ...parties[party]?.quota,
    };
    const keys = new TokenBucket(keysPerSecond ?? Number.POSITIVE_INFINITY);
    const account = { keys, keysPerSecond, maxWaiting: Math.min(MAX_WAITING, most), waiting: 0 };
    this.#accounts.set(party, account);
    return account;
  }
}
