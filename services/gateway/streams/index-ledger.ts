import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Decisions that are remembered, for an initiator that asks again. */
const MAX_DECISIONS = 16;

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
  readonly #decisions = new Map<number, boolean>();

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
    this.#decisions.set(first, released);
    if (this.#decisions.size <= MAX_DECISIONS) return;
    for (const oldest of this.#decisions.keys()) {
      this.#decisions.delete(oldest);
      break;
    }
  }

  /** Whether a batch that is over was released; undefined for one that is not, or is no longer remembered. */
  decisionOn(first: number): boolean | undefined {
    return this.#decisions.get(first);
  }
}
