import type { NodeConfig } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { TokenBucket } from '#common/limits/token-bucket.ts';
import type { Clock } from '#common/time/clock.ts';

/** Calls of one SAE that wait for keys at most. */
const MAX_WAITING = 64;

export interface SaeQuotasOptions {
  readonly config: Pick<NodeConfig, 'access' | 'listeners'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** What one SAE has of its quota. */
interface Account {
  readonly keys: TokenBucket;
  readonly keysPerSecond: number | undefined;
  readonly maxWaiting: number;
  waiting: number;
}

/** What the SAEs of this node may take: keys a second, and calls that wait. */
export class SaeQuotas {
  readonly #o: SaeQuotasOptions;
  /** By SAE ID; there are no others than those of the configuration. */
  readonly #accounts = new Map<string, Account>();

  constructor(options: SaeQuotasOptions) {
    this.#o = options;
  }

  /**
   * Counts so many keys for an SAE; more than it is given in a second it gets
   * when it has had none for one, and pays for them afterwards.
   *
   * @throws KeyweaveError INSUFFICIENT_KEY where it has had too many lately.
   */
  take(sae: string, keys: number): void {
    const account = this.#of(sae);
    const nowMs = this.#o.clock.monotonicMs();
    const delayMs = account.keys.delayMs(nowMs, keys);
    if (delayMs > 0) {
      const detail = `this SAE is given ${account.keysPerSecond} keys a second; ask for ${keys} again in ${delayMs} ms`;
      throw new KeyweaveError('INSUFFICIENT_KEY', detail);
    }
    account.keys.take(nowMs, keys);
  }

  /** So many of them were not given to it. */
  refund(sae: string, keys: number): void {
    this.#of(sae).keys.refund(keys);
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED where the SAE has as many calls that wait as it may. */
  assertMayWait(sae: string): void {
    const { waiting, maxWaiting } = this.#of(sae);
    if (waiting < maxWaiting) return;
    throw new KeyweaveError('LIMIT_EXCEEDED', `${maxWaiting} calls of this SAE wait for keys`);
  }

  /** Counts a call that waits until it does no more. */
  async waits<T>(sae: string, work: Promise<T>): Promise<T> {
    const account = this.#of(sae);
    account.waiting += 1;
    try {
      return await work;
    } finally {
      account.waiting -= 1;
    }
  }

  #of(sae: string): Account {
    const known = this.#accounts.get(sae);
    if (known) return known;
    const { access, listeners } = this.#o.config;
    const { keys_per_second: keysPerSecond, waiting_requests: most = MAX_WAITING } = {
      ...access?.default_quota,
      ...listeners.rest?.saes[sae]?.quota,
    };
    const keys = new TokenBucket(keysPerSecond ?? Number.POSITIVE_INFINITY);
    const account = { keys, keysPerSecond, maxWaiting: Math.min(MAX_WAITING, most), waiting: 0 };
    this.#accounts.set(sae, account);
    return account;
  }
}
