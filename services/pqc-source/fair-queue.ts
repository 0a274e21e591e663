import { KeyweaveError } from '#common/errors/keyweave-error.ts';

export interface FairQueueOptions {
  /** Pieces of work that run at a time, of all parties together. */
  readonly concurrency: number;
  /** Of one party: pieces that may wait, and what they hold in memory, bytes. */
  readonly maxWaiting: number;
  readonly maxWaitingBytes: number;
}

interface Piece {
  readonly bytes: number;
  readonly start: () => void;
}

interface Party {
  readonly pieces: Piece[];
  bytes: number;
}

/**
 * Work of several parties on what they share. Those whose work waits take
 * turns, one piece each, so that nobody waits behind all that another has
 * asked for.
 */
export class FairQueue {
  readonly #options: FairQueueOptions;
  /** Those whose work waits; whose turn is next comes first. */
  readonly #waiting = new Map<string, Party>();
  #running = 0;

  constructor(options: FairQueueOptions) {
    this.#options = options;
  }

  /**
   * Does `work` when the party's turn has come.
   *
   * @param bytes what the work holds in memory while it waits.
   * @param signal fires when nobody waits for the outcome any more; work that has not begun is left out.
   * @throws KeyweaveError LIMIT_EXCEEDED when too much of the party's work waits already, TIMEOUT when `signal` has fired.
   */
  async run<T>(party: string, bytes: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#options.concurrency) this.#running += 1;
    else await this.#turn(party, bytes);
    try {
      if (signal.aborted) throw new KeyweaveError('TIMEOUT', 'nobody waits for this KEM batch any more');
      return await work();
    } finally {
      this.#next();
    }
  }

  #turn(name: string, bytes: number): Promise<void> {
    const { maxWaiting, maxWaitingBytes } = this.#options;
    const party = this.#waiting.get(name) ?? { pieces: [], bytes: 0 };
    if (party.pieces.length >= maxWaiting || party.bytes + bytes > maxWaitingBytes) {
      throw new KeyweaveError('LIMIT_EXCEEDED', `too many KEM batches of node ${name} are waiting`);
    }
    party.bytes += bytes;
    this.#waiting.set(name, party);
    return new Promise((start) => party.pieces.push({ bytes, start }));
  }

  /** The place passes on to whoever is next, or is given back. */
  #next(): void {
    for (const [name, party] of this.#waiting) {
      const piece = party.pieces.shift() as Piece;
      party.bytes -= piece.bytes;
      this.#waiting.delete(name);
      if (party.pieces.length > 0) this.#waiting.set(name, party);
      piece.start();
      return;
    }
    this.#running -= 1;
  }
}
