import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Owner } from '../streams/owner.ts';

/** How the names of applications begin that are a listener's own, in URIs: no application may name one. */
export const LISTENER_NAME = 'listener~';

const OF_LISTENER = new RegExp(`^hybrid://${LISTENER_NAME}`, 'i');

/** A stream that a peer's node offers. */
export interface OfferedStream {
  readonly ksid: string;
  readonly source: string;
  readonly destination: string;
  /** UUID of the node that offers it. */
  readonly peer: string;
  readonly method: string;
  readonly sources: readonly string[];
  /** Bytes of each of its keys. */
  readonly keyBytes: number;
}

/** A listener that opens streams by itself, for applications that open none. */
export interface OfferTaker {
  /**
   * Whose an offered stream will be; undefined where it is none of this listener's.
   *
   * @throws KeyweaveError that refuses it, as the other end is told.
   */
  judge(offer: OfferedStream): Owner | undefined;

  /** A stream that was judged to be this listener's is open from now on. */
  opened(offer: OfferedStream): void;
}

/** Whether a URI names what is a listener's own. */
export function isOfListener(uri: string): boolean {
  return OF_LISTENER.test(uri);
}

/** The listeners of this node that take offers of peers, without an application that waits for them. */
export class OfferTakers {
  readonly #takers = new Set<OfferTaker>();

  /** @returns what takes it out again. */
  add(taker: OfferTaker): () => void {
    this.#takers.add(taker);
    return () => this.#takers.delete(taker);
  }

  /**
   * Who takes the offer; undefined where it waits for an application.
   *
   * @throws KeyweaveError that refuses it; PEER_APPLICATION_ABSENT where it is meant for a listener that is not here.
   */
  takerOf(offer: OfferedStream): { readonly owner: Owner; readonly opened: () => void } | undefined {
    if (!isOfListener(offer.destination)) return undefined;
    for (const taker of this.#takers) {
      const owner = taker.judge(offer);
      if (owner) return { owner, opened: () => taker.opened(offer) };
    }
    throw new KeyweaveError(
      'PEER_APPLICATION_ABSENT',
      'the other node has no listener that answers for this application',
    );
  }
}
