/** From this pace on, keys a second, QKD keys are read in blocks, and below that one singly again. */
const BLOCKS_FROM = 160;
const BLOCKS_UNTIL = 20;

/** Key managers that have so often had no block keep to single keys. */
const MAX_DRY = 3;

/**
 * How many QKD keys are read as one: several where they go fast and the key
 * managers of both ends are known to give them, so that they are asked less
 * often; where keys go slowly a block would lie about.
 */
export class BlockSize {
  readonly #max: number;
  #here = 0;
  #atPeer = 0;
  #refused = false;
  #dry = 0;

  /** @param max QKD keys of one block (`qkd.block_keys`). */
  constructor(max: number) {
    this.#max = max;
  }

  /** Notes what this end's key manager is known to give, QKD keys in one block; 0 is no news. */
  noteHere(blockKeys: number): void {
    if (blockKeys > 0) this.#here = blockKeys;
  }

  /** The same of the other end's. */
  notePeer(blockKeys: number): void {
    if (blockKeys > 0) this.#atPeer = blockKeys;
  }

  /** A key manager does not give the blocks that it was seen to give: single keys for good. */
  refuse(): void {
    this.#refused = true;
  }

  /** A key manager had no block to give: after a few times single keys for good. */
  ranDry(): void {
    this.#dry += 1;
    this.#refused ||= this.#dry >= MAX_DRY;
  }

  /** QKD keys to read as one at this pace, keys a second, where it is `current` now. */
  wanted(pace: number, current: number): number {
    if (this.#refused || pace < BLOCKS_UNTIL) return 1;
    if (pace < BLOCKS_FROM) return current;
    return Math.max(1, Math.min(this.#max, this.#here, this.#atPeer));
  }
}
