import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import type { PeerQuotas } from '../store/peer-quotas.ts';
import type { KeyStream } from '../streams/key-stream.ts';

/** An offer that has not been repeated for this long is forgotten. */
export const OFFER_LIMIT_MS = 15_000;

const SWEEP_MS = 1_000;

interface Offer {
  /** When it was last repeated. */
  seenMs: number;
  /** An application is joining it. */
  taken: boolean;
}

export interface OpenOffersOptions {
  readonly clock: Pick<Clock, 'monotonicMs' | 'after'>;
  readonly quotas: PeerQuotas;
  /** Streams that this node holds at most; half of them are its own applications'. */
  readonly maxStreams: number;
  /** Ends an offer that nobody repeats. */
  onStale(stream: KeyStream): void;
}

/** Which of the offers an application would take. */
export interface OfferWish {
  readonly terms: { readonly source: string; readonly destination: string; readonly sourceNode: string };
  readonly ksid: string | undefined;
}

/**
 * The streams that peers have placed here and that no application has joined
 * yet, oldest first. Each peer has its share of the places; what is not
 * repeated goes by itself.
 */
export class OpenOffers {
  readonly #o: OpenOffersOptions;
  /** By the node that leads them. */
  readonly #byNode = new Map<string, Map<KeyStream, Offer>>();
  /** Places taken, by the node through which they came. */
  readonly #counts = new Map<string, number>();
  /** Runs while there is an offer. */
  #timer: Timer | undefined;
  #count = 0;

  constructor(options: OpenOffersOptions) {
    this.#o = options;
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED where `nextHop`, or all peers together, have no place left. */
  assertRoom(nextHop: string): void {
    const { quotas, maxStreams } = this.#o;
    const ofPeers = Math.ceil(maxStreams / 2);
    const has = () => this.#counts.get(nextHop) ?? 0;
    if (has() >= quotas.offers || this.#count >= ofPeers) this.#sweep();
    if (has() >= quotas.offers) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `the other node holds its limit of ${quotas.offers} open offers of node ${nextHop} (limits.max_open_offers_per_peer)`,
      );
    }
    if (this.#count >= ofPeers) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `the other node holds its limit of ${ofPeers} open offers (half of limits.max_streams)`,
      );
    }
  }

  /** Adds an offer, or notes that it was repeated. */
  note(stream: KeyStream): void {
    const { farNode, nextHop } = stream.route;
    const ofNode = this.#byNode.get(farNode) ?? new Map<KeyStream, Offer>();
    this.#byNode.set(farNode, ofNode);
    const seenMs = this.#o.clock.monotonicMs();
    const known = ofNode.get(stream);
    if (known) known.seenMs = seenMs;
    else {
      ofNode.set(stream, { seenMs, taken: false });
      this.#change(nextHop, 1);
      this.#watch();
    }
  }

  /** The oldest offer that fits and that nobody is joining. A predefined KSID is joined by naming it only. */
  oldest(wish: OfferWish): KeyStream | undefined {
    for (const [stream, offer] of this.#byNode.get(wish.terms.sourceNode) ?? []) {
      if (!offer.taken && !stream.ended && fits(stream, wish)) return stream;
    }
    return undefined;
  }

  /** Keeps an offer for whoever joins it now; `remove` or `putBack` follows. */
  take(stream: KeyStream): void {
    const offer = this.#byNode.get(stream.route.farNode)?.get(stream);
    if (offer) offer.taken = true;
  }

  /** Nobody is joining the offer any more; it is as good as one that was just repeated. */
  putBack(stream: KeyStream): void {
    const offer = this.#byNode.get(stream.route.farNode)?.get(stream);
    if (!offer) return;
    offer.taken = false;
    offer.seenMs = this.#o.clock.monotonicMs();
  }

  remove(stream: KeyStream): void {
    const { farNode, nextHop } = stream.route;
    if (this.#byNode.get(farNode)?.delete(stream)) this.#change(nextHop, -1);
  }

  /** Looks after the offers no more. */
  stop(): void {
    this.#timer?.cancel();
  }

  #change(nextHop: string, more: number): void {
    this.#counts.set(nextHop, (this.#counts.get(nextHop) ?? 0) + more);
    this.#count += more;
  }

  #watch(): void {
    this.#timer ??= this.#o.clock.after(
      SWEEP_MS,
      () => {
        this.#timer = undefined;
        this.#sweep();
        if (this.#count > 0) this.#watch();
      },
      true,
    );
  }

  #sweep(): void {
    const oldest = this.#o.clock.monotonicMs() - OFFER_LIMIT_MS;
    for (const ofNode of this.#byNode.values()) {
      for (const [stream, { seenMs, taken }] of ofNode) {
        if (taken || (seenMs >= oldest && !stream.ended)) continue;
        this.remove(stream);
        this.#o.onStale(stream);
      }
    }
  }
}

/** Whether an application with this wish may have the stream. */
export function fits(stream: KeyStream, { terms, ksid }: OfferWish): boolean {
  return (
    (ksid === undefined ? !stream.predefined : stream.id === ksid) &&
    stream.isPair(terms.source, terms.destination)
  );
}
