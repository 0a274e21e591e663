/** How new key comes from a quantum link. */
export interface SupplyOptions {
  /** Key rate in bit/s; Infinity without a limit. */
  readonly rateBps: number;
  /** Bytes of key that can be saved up while nobody asks; as many are there at the start. */
  readonly bufferBytes: number;
  /** even: bit by bit; poisson: as single keys of 32 bytes at random moments, as many on average. */
  readonly arrivals: 'even' | 'poisson';
  /** The link stands still again and again: `forMs` at the end of each `everyMs`. */
  readonly outages?: { readonly everyMs: number; readonly forMs: number } | undefined;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** From 0 up to, but not, 1. */
  readonly random?: () => number;
}

/** What comes at once where keys arrive one by one. */
const ARRIVAL_BYTES = 32;

/** The key that a link has made and nobody has fetched, in bytes. */
export class KeySupply {
  readonly #options: SupplyOptions;
  readonly #random: () => number;
  readonly #startMs: number;
  #rateBps: number;
  #credit: number;
  #atMs: number;
  /** When the next key arrives, in milliseconds in which the link runs. */
  #nextMs: number;

  constructor(options: SupplyOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#rateBps = options.rateBps;
    this.#credit = options.bufferBytes;
    this.#startMs = options.now();
    this.#atMs = this.#startMs;
    this.#nextMs = this.#gapMs();
  }

  /** From now on the link makes so much, bit/s; 0 for nothing. */
  setRate(rateBps: number): void {
    this.#come();
    this.#rateBps = rateBps;
    this.#nextMs = this.#gapMs();
  }

  /** Takes `bytes`, or nothing where there are fewer. */
  spend(bytes: number): boolean {
    this.#come();
    if (this.#rateBps === Number.POSITIVE_INFINITY) return true;
    if (this.#credit < bytes) return false;
    this.#credit -= bytes;
    return true;
  }

  /** Adds what has come since the last time. */
  #come(): void {
    const { bufferBytes, arrivals, now } = this.#options;
    const nowMs = now();
    let ranMs = this.#ranUntil(nowMs) - this.#ranUntil(this.#atMs);
    this.#atMs = nowMs;
    if (this.#rateBps === Number.POSITIVE_INFINITY) {
      this.#credit = bufferBytes;
      return;
    }
    if (arrivals === 'even') {
      this.#credit = Math.min(bufferBytes, this.#credit + (ranMs * this.#rateBps) / 8_000);
      return;
    }
    while (ranMs >= this.#nextMs) {
      ranMs -= this.#nextMs;
      this.#nextMs = this.#gapMs();
      this.#credit = Math.min(bufferBytes, this.#credit + ARRIVAL_BYTES);
      // What nobody has room for need not be counted.
      if (this.#credit === bufferBytes) ranMs = 0;
    }
    this.#nextMs -= ranMs;
  }

  /** Milliseconds since the start in which the link ran. */
  #ranUntil(ms: number): number {
    const { outages } = this.#options;
    const since = ms - this.#startMs;
    if (!outages) return since;
    const { everyMs, forMs } = outages;
    const runsMs = everyMs - forMs;
    return Math.floor(since / everyMs) * runsMs + Math.min(runsMs, since % everyMs);
  }

  #gapMs(): number {
    return (-Math.log(1 - this.#random()) * ARRIVAL_BYTES * 8_000) / this.#rateBps;
  }
}
