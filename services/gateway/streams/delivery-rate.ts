import type { Qos } from '#gen/keyweave/v1/common.ts';

/** What may be saved up while nobody asks, as time at the full rate. */
const BURST_MS = 1_000;

/**
 * Holds one end of a stream to Max_bps (ETSI GS QKD 004 V2.1.1, Table 2): a
 * token bucket that holds one second of keys, at least one chunk.
 *
 * 0 sets no limit, and neither does a rate below one chunk a second: the
 * reference's request files ask for 32 bit/s, which it ignored, and would
 * otherwise get a 256-bit key every eight seconds.
 */
export class DeliveryRate {
  readonly #chunkMs: number;
  /** When the bucket would be full if nothing more were taken, with what is saved up deducted. */
  #fullMs = Number.NEGATIVE_INFINITY;

  constructor({ maxBps, keyChunkSize }: Pick<Qos, 'maxBps' | 'keyChunkSize'>) {
    const chunkBits = keyChunkSize * 8;
    this.#chunkMs = maxBps < chunkBits ? 0 : (chunkBits / maxBps) * 1_000;
  }

  /**
   * Takes the tokens of one chunk; gives the milliseconds after which it may
   * be delivered, and takes none where that is more than `patienceMs`.
   */
  reserve(nowMs: number, patienceMs: number): { delayMs: number; reserved: boolean } {
    if (this.#chunkMs === 0) return { delayMs: 0, reserved: true };
    const full = Math.max(this.#fullMs, nowMs) + this.#chunkMs;
    const delayMs = Math.max(0, Math.ceil(full - Math.max(BURST_MS, this.#chunkMs) - nowMs));
    const reserved = delayMs <= patienceMs;
    if (reserved) this.#fullMs = full;
    return { delayMs, reserved };
  }

  /** Gives the tokens of a chunk back that was not delivered after all. */
  refund(): void {
    this.#fullMs -= this.#chunkMs;
  }
}
