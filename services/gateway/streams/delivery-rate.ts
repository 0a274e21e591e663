import { TokenBucket } from '#common/limits/token-bucket.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';

/**
 * Holds one end of a stream to Max_bps (ETSI GS QKD 004 V2.1.1, Table 2): a
 * token bucket that holds one second of keys, at least one chunk.
 *
 * 0 sets no limit, and neither does a rate below one chunk a second: the
 * reference's request files ask for 32 bit/s, which it ignored, and would
 * otherwise get a 256-bit key every eight seconds.
 */
export class DeliveryRate {
  readonly #chunks: TokenBucket;

  constructor({ maxBps, keyChunkSize }: Pick<Qos, 'maxBps' | 'keyChunkSize'>) {
    const chunkBits = keyChunkSize * 8;
    this.#chunks = new TokenBucket(maxBps < chunkBits ? Number.POSITIVE_INFINITY : maxBps / chunkBits);
  }

  /**
   * Takes the tokens of one chunk; gives the milliseconds after which it may
   * be delivered, and takes none where that is more than `patienceMs`.
   */
  reserve(nowMs: number, patienceMs: number): { delayMs: number; reserved: boolean } {
    const delayMs = this.#chunks.delayMs(nowMs);
    const reserved = delayMs <= patienceMs;
    if (reserved) this.#chunks.take(nowMs);
    return { delayMs, reserved };
  }

  /** Gives the tokens of a chunk back that was not delivered after all. */
  refund(): void {
    this.#chunks.refund();
  }
}
