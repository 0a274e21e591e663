import type { AccessConfig, QuotaConfig } from '#common/config/access/access-section.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Clock } from '#common/time/clock.ts';
import type { StreamFacts, StreamListener } from '../../streams/stream-events.ts';
import { ClientAccount, type ClientQuota } from './client-account.ts';
import type { ClientList } from './client-list.ts';

export interface ClientAccountsOptions {
  /** Absent: nobody has an entry. */
  readonly list: Pick<ClientList, 'find'> | undefined;
  readonly defaults: AccessConfig['default_quota'];
  /** Clients with streams, of which there are no more than streams. */
  readonly most: number;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/**
 * What the clients have of their quotas, by identity. One has an account from
 * its first OPEN_CONNECT on, as long as it has streams or requests.
 */
export class ClientAccounts implements StreamListener {
  readonly #o: ClientAccountsOptions;
  readonly #accounts = new Map<string | undefined, ClientAccount>();

  constructor(options: ClientAccountsOptions) {
    this.#o = options;
  }

  /** The account of a client that has one. */
  of(identity: string | undefined): ClientAccount | undefined {
    return this.#accounts.get(identity);
  }

  /**
   * The account of a client that opens a stream; undefined for one without a quota.
   *
   * @throws KeyweaveError LIMIT_EXCEEDED where there are too many.
   */
  ofOpening(identity: string | undefined): ClientAccount | undefined {
    const known = this.#accounts.get(identity);
    if (known) return known;
    const quota = this.#quotaOf(identity);
    if (!quota) return undefined;
    const { most, clock } = this.#o;
    if (this.#accounts.size >= most) this.#forgetIdle(clock.monotonicMs());
    if (this.#accounts.size >= most) {
      throw new KeyweaveError('LIMIT_EXCEEDED', `${most} clients of this node have streams, or open them`);
    }
    const account = new ClientAccount(quota);
    this.#accounts.set(identity, account);
    return account;
  }

  opened({ owner }: StreamFacts): void {
    if (owner) this.of(owner.identity)?.opened();
  }

  closed({ owner }: StreamFacts): void {
    if (owner) this.of(owner.identity)?.closed();
  }

  /** Without certificates all are one: a default for each client would be one for all of them. */
  #quotaOf(identity: string | undefined): ClientQuota | undefined {
    const { list, defaults } = this.#o;
    const listed = list?.find(identity);
    const own = listed?.entry.quota;
    const limits: QuotaConfig = { ...(identity !== undefined && defaults), ...own };
    if (Object.keys(limits).length === 0) return undefined;
    const pathOf = (member: keyof QuotaConfig) =>
      own?.[member] === undefined ? `access.default_quota.${member}` : `${listed?.path}.quota.${member}`;
    return { limits, pathOf };
  }

  #forgetIdle(nowMs: number): void {
    for (const [identity, account] of this.#accounts) {
      if (account.isIdle(nowMs)) this.#accounts.delete(identity);
    }
  }
}
