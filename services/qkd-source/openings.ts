import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { Slots } from './drivers/slots.ts';

/**
 * OPEN_CONNECTs under way: with one other node, so that none keeps the rest
 * out where the key manager answers only when both ends have come, and in all,
 * so that connections are left for keys.
 */
const MAX_WITH_NODE = 16;
const MAX_IN_ALL = 48;

/** Streams with one other node that wait for their turn. */
const MAX_WAITING = 4096;

/** How long an opening may still take when its stream is opened anew: what is done can be closed again. */
const LEAVING_MS = 250;

interface Opener {
  readonly slots: Slots;
  waiting: number;
}

class Opening {
  readonly left = new AbortController();
  begun = false;

  leave(): void {
    if (this.begun) setTimeout(() => this.left.abort(), LEAVING_MS).unref();
    else this.left.abort();
  }
}

/** Which stream is to be opened, between which nodes. */
export interface OpeningOf {
  readonly keyStreamId: string;
  readonly epoch: number;
  readonly sourceNode: string;
  readonly destinationNode: string;
}

/** Turns at opening streams, fair among the nodes at the other end; each stream has one, its newest. */
export class Openings {
  readonly #all = new Slots(MAX_IN_ALL);
  /** By the pair of nodes, one of which is this one. */
  readonly #openers = new Map<string, Opener>();
  readonly #newest = new Map<string, Opening>();

  /**
   * Runs `work` in its turn. A later opening of the same stream soon ends it.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE when the turn does not come before the signal, LIMIT_EXCEEDED
   *   when too many wait, QKD_OUT_OF_STEP when the stream has been opened anew meanwhile.
   */
  async run<T>(of: OpeningOf, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const pair = [of.sourceNode, of.destinationNode].sort().join();
    const opener = this.#openers.get(pair) ?? { slots: new Slots(MAX_WITH_NODE), waiting: 0 };
    if (opener.waiting >= MAX_WAITING) {
      throw new KeyweaveError('LIMIT_EXCEEDED', `${MAX_WAITING} QKD streams with one node are being opened`);
    }
    const opening = new Opening();
    this.#newest.get(of.keyStreamId)?.leave();
    this.#newest.set(of.keyStreamId, opening);
    this.#openers.set(pair, opener);
    opener.waiting += 1;
    const limit = AbortSignal.any([signal, opening.left.signal]);
    const begin = () => {
      opening.begun = true;
      return work(limit);
    };
    try {
      return await opener.slots.run(limit, () => this.#all.run(limit, begin));
    } catch (error) {
      if (opening.left.signal.aborted) {
        throw new KeyweaveError('QKD_OUT_OF_STEP', `QKD epoch ${of.epoch} has been left`, { cause: error });
      }
      if (error === limit.reason) {
        throw new KeyweaveError('QKD_UNAVAILABLE', 'no turn at the key manager came in time');
      }
      throw error;
    } finally {
      opener.waiting -= 1;
      if (opener.waiting === 0) this.#openers.delete(pair);
      if (this.#newest.get(of.keyStreamId) === opening) this.#newest.delete(of.keyStreamId);
    }
  }
}
