import type { QuotaConfig } from '#common/config/access/access-section.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { TokenBucket } from '#common/limits/token-bucket.ts';

/** What a client may take, and where in the configuration that stands, member by member. */
export interface ClientQuota {
  readonly limits: QuotaConfig;
  readonly pathOf: (member: keyof QuotaConfig) => string;
}

/** What one client has of its quota. */
export class ClientAccount {
  /** The keys that it is given. */
  readonly keys: TokenBucket;
  readonly #quota: ClientQuota;
  /** Streams that it has. */
  #streams = 0;
  /** OPEN_CONNECTs that are under way. */
  #opening = 0;
  /** GET_KEYs that wait. */
  #waiting = 0;

  constructor(quota: ClientQuota) {
    this.#quota = quota;
    this.keys = new TokenBucket(quota.limits.keys_per_second ?? Number.POSITIVE_INFINITY);
  }

  /** Whether one more GET_KEY may wait. */
  get mayWait(): boolean {
    return this.#opening + this.#waiting < (this.#quota.limits.waiting_requests ?? Number.POSITIVE_INFINITY);
  }

  /** Whether nothing would be forgotten with it. */
  isIdle(nowMs: number): boolean {
    return this.#streams + this.#opening + this.#waiting === 0 && this.keys.isFull(nowMs);
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED where it may open no stream now. */
  assertMayOpen(): void {
    const most = this.#quota.limits.streams ?? Number.POSITIVE_INFINITY;
    if (this.#streams + this.#opening >= most) throw this.#full(`${most} open streams`, 'streams');
    if (!this.mayWait) throw this.tooManyWait();
  }

  /** Counts an OPEN_CONNECT until it is over. */
  async opens<T>(opening: Promise<T>): Promise<T> {
    this.#opening += 1;
    try {
      return await opening;
    } finally {
      this.#opening -= 1;
    }
  }

  /** Counts a GET_KEY that waits until it does no more. */
  async waits<T>(work: Promise<T>): Promise<T> {
    this.#waiting += 1;
    try {
      return await work;
    } finally {
      this.#waiting -= 1;
    }
  }

  /** A stream of this client is open. */
  opened(): void {
    this.#streams += 1;
  }

  /** One that was open is over. */
  closed(): void {
    this.#streams -= 1;
  }

  /** Why nothing more of it may wait. */
  tooManyWait(): KeyweaveError {
    return this.#full(`${this.#quota.limits.waiting_requests} requests that wait`, 'waiting_requests');
  }

  /** Why there is no key within the time that a request has. */
  tooManyKeys(delayMs: number): KeyweaveError {
    const { limits, pathOf } = this.#quota;
    const rate = `${limits.keys_per_second} keys a second (${pathOf('keys_per_second')})`;
    const detail = `this client is given ${rate}, the next one in ${delayMs} ms, which is later than the timeout`;
    return new KeyweaveError('INSUFFICIENT_KEY', detail);
  }

  #full(what: string, member: keyof QuotaConfig): KeyweaveError {
    const detail = `this client has its limit of ${what} (${this.#quota.pathOf(member)})`;
    return new KeyweaveError('LIMIT_EXCEEDED', detail);
  }
}
