import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import type { PolicyLayer } from '#common/policy/policy-layers.ts';
import type { Clock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { Owner } from '../streams/owner.ts';
import { fits } from './open-offers.ts';
import { isAwaited } from './refused-offers.ts';
import type { StreamWish } from './stream-wish.ts';

interface WaitingApplication {
  readonly wish: StreamWish;
  readonly called: PromiseWithResolvers<KeyStream | undefined>;
}

/** This node's applications that wait for an offer of a peer, first come first served. */
export class WaitingApplications {
  readonly #clock: Pick<Clock, 'after'>;
  readonly #waiting = new Set<WaitingApplication>();

  constructor(clock: Pick<Clock, 'after'>) {
    this.#clock = clock;
  }

  /**
   * Waits for an offer, which is the application's from then on; undefined when
   * the time is over, the application has gone, or there are offers to look at.
   *
   * @throws whatever the offer was refused for.
   */
  async wait(wish: StreamWish, ms: number): Promise<KeyStream | undefined> {
    const waiting: WaitingApplication = { wish, called: Promise.withResolvers() };
    this.#waiting.add(waiting);
    try {
      return await waitFor(waiting.called.promise, ms, wish.signal, this.#clock);
    } finally {
      this.#waiting.delete(waiting);
    }
  }

  /** Gives the stream to the first one whom it fits, and that may have it; false where there is none. */
  give(stream: KeyStream): boolean {
    for (let first = this.#first(stream); first; first = this.#first(stream)) {
      const { wish, called } = first;
      this.#waiting.delete(first);
      try {
        wish.judge?.(stream);
      } catch (refusal) {
        called.reject(refusal);
        continue;
      }
      stream.join(wish.owner);
      called.resolve(stream);
      return true;
    }
    return false;
  }

  /** Has the first one whom the offer fits look at the open offers again. */
  rouse(offer: KeyStream): void {
    this.#first(offer)?.called.resolve(undefined);
  }

  /** Tells the first one that waits for an offer of `peer` why it was refused; false where there is none. */
  refuse(offer: OpenRequest, ksid: string, peer: string, error: unknown): boolean {
    for (const waiting of this.#waiting) {
      const { wish, called } = waiting;
      if (wish.terms.sourceNode !== peer || !isAwaited(offer, ksid, wish)) continue;
      this.#waiting.delete(waiting);
      called.reject(error);
      return true;
    }
    return false;
  }

  /** @throws KeyweaveError KSID_IN_USE where one waits for a stream of this KSID between other applications. */
  assertPair(ksid: string, { source, destination }: Pick<OpenRequest, 'source' | 'destination'>): void {
    for (const { wish } of this.#waiting) {
      const { terms } = wish;
      if (wish.ksid !== ksid || (terms.source === source && terms.destination === destination)) continue;
      throw ofAnotherPair(ksid);
    }
  }

  #first(stream: KeyStream): WaitingApplication | undefined {
    for (const waiting of this.#waiting) {
      if (fits(stream, waiting.wish) && !waiting.wish.signal.aborted) return waiting;
    }
    return undefined;
  }
}

/** Why a KSID cannot be had by these applications. */
export function ofAnotherPair(ksid: string): KeyweaveError {
  return new KeyweaveError(
    'KSID_IN_USE',
    `key_stream_id ${shortKsid(ksid)}… belongs to another source and destination`,
  );
}

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
  /** What the listener says of sources, beside the node's policy. */
  readonly policy?: PolicyLayer | undefined;

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
  takerOf(
    offer: OfferedStream,
  ):
    | { readonly owner: Owner; readonly policy: PolicyLayer | undefined; readonly opened: () => void }
    | undefined {
    if (!isOfListener(offer.destination)) return undefined;
    for (const taker of this.#takers) {
      const owner = taker.judge(offer);
      if (owner) return { owner, policy: taker.policy, opened: () => taker.opened(offer) };
    }
    throw new KeyweaveError(
      'PEER_APPLICATION_ABSENT',
      'the other node has no listener that answers for this application',
    );
  }
}
