import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Batches that are remembered as released, for an initiator that asks again: it asks about one after the other. */
const MAX_RELEASED = 16;

/**
 * The indexes of one end of a stream. They are taken by batches in ascending
 * order, each once; those of a batch that is over have been released or are
 * burned, and none ever comes back.
 */
export class IndexLedger {
  /** First index that no batch has taken. */
  #next = 0;
  /** Batches under way, by their first index, in ascending order. */
  readonly #open = new Set<number>();
  /** Batches that were released last, by their first index. */
  readonly #released = new Set<number>();

  /** First index that no batch has taken; those below never will be again, but for what is given back. */
  get next(): number {
    return this.#next;
  }

  /** First index that may still come: every one below it has been released or is burned. */
  get frontier(): number {
    for (const first of this.#open) return first;
    return this.#next;
  }

  /** Initiator: takes the next `count` indexes for a batch; its first one. `settle` or `giveBack` follows. */
  allot(count: number): number {
    const first = this.#next;
    this.#open.add(first);
    this.#next = first + count;
    return first;
  }

  /** @throws KeyweaveError AGREEMENT_FAILED for an index that has been used before. */
  assertUnused(index: number): void {
    if (index < this.#next) {
      throw new KeyweaveError('AGREEMENT_FAILED', `index ${index} has been used before`);
    }
  }

  /**
   * Responder: notes the indexes that the initiator has taken for a batch; what
   * lies between the last batch and this one is burned. `settle` follows.
   *
   * @throws KeyweaveError AGREEMENT_FAILED where one of them has been used before.
   */
  claim(first: number, count: number): void {
    this.assertUnused(first);
    this.#open.add(first);
    this.#next = first + count;
  }

  /** The newest batch has come out shorter: the next one starts behind its `count` chunks. */
  shorten(first: number, count: number): void {
    this.#next = first + count;
  }

  /** Nothing was made of the newest batch at either end: the next one takes its indexes. */
  giveBack(first: number): void {
    this.#open.delete(first);
    this.#next = first;
  }

  /** A batch is over: its chunks have been released, or its indexes are burned. */
  settle(first: number, released: boolean): void {
    this.#open.delete(first);
    if (!released) return;
    this.#released.add(first);
    if (this.#released.size <= MAX_RELEASED) return;
    for (const oldest of this.#released) {
      this.#released.delete(oldest);
      break;
    }
  }

  /** Whether the batch at `first` may be released: none behind it has been, since chunks are read in the order of their indexes. */
  mayBeReleased(first: number): boolean {
    for (const released of this.#released) if (released >= first) return false;
    return true;
  }

  /**
   * Whether the batch at `first` was released; false for one that was dropped,
   * is not over, or is no longer remembered. Batches that come to nothing push
   * none out of this memory.
   */
  wasReleased(first: number): boolean {
    return this.#released.has(first);
  }
}
