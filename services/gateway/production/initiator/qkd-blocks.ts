import { isReason, type KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { QkdStream } from '../../clients/qkd-stream.ts';

/** From this depth on a stream's QKD keys are read in blocks, and below that one singly again. */
const BLOCKS_FROM_DEPTH = 32;
const BLOCKS_UNTIL_DEPTH = 8;

/** A stream whose key managers have so often had no block for it keeps to single keys. */
const MAX_DRY = 3;

/**
 * How many QKD keys a stream reads as one: several where it is fast and the key
 * managers of both ends are known to give them; a slow stream must not hold a
 * block of which it needs little.
 */
export class QkdBlocks {
  readonly #max: number;
  readonly #stream: QkdStream;
  /** Most QKD keys in one block that the other end's key manager is known to give. */
  #atPeer = 0;
  #refused = false;
  #dry = 0;

  /** @param max QKD keys of one block (`qkd.block_keys`). */
  constructor(max: number, stream: QkdStream) {
    this.#max = max;
    this.#stream = stream;
  }

  /** Notes what the other end's key manager is known to give, QKD keys in one block; 0 is no news. */
  notePeer(blockKeys: number): void {
    if (blockKeys > 0) this.#atPeer = blockKeys;
  }

  /** QKD keys to read as one at this depth of prefetch. */
  wanted(depth: number): number {
    const current = this.#stream.blockKeys;
    if (this.#refused) return current;
    if (depth < BLOCKS_UNTIL_DEPTH) return 1;
    if (depth < BLOCKS_FROM_DEPTH) return current;
    return Math.max(1, Math.min(this.#max, this.#stream.givenBlockKeys, this.#atPeer));
  }

  /** A key manager does not give the blocks that it was seen to give: single keys for good. */
  refuse(): void {
    this.#refused = true;
  }

  /**
   * Whether `error` of a batch that was read in blocks may be due to them, so
   * that single keys are to be tried: for good, or for now where it had run dry.
   */
  isBlamedFor(error: KeyweaveError): boolean {
    if (!isReason(error, 'QKD_UNAVAILABLE', 'QKD_OUT_OF_STEP', 'INSUFFICIENT_KEY')) return false;
    if (isReason(error, 'INSUFFICIENT_KEY')) this.#dry += 1;
    else this.#refused = true;
    this.#refused ||= this.#dry >= MAX_DRY;
    return true;
  }
}
