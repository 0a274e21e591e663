import { KeyweaveError } from '#common/errors/keyweave-error.ts';
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
  now: () => number;
  quotas: PeerQuotas;
  /** Streams that this node holds at most; half of them are its own applications'. */
  maxStreams: number;
  /** Ends an offer that nobody repeats. */
  onStale: (stream: KeyStream) => void;
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
  readonly #byPeer = new Map<string, Map<KeyStream, Offer>>();
  readonly #timer: NodeJS.Timeout;
  #count = 0;

  constructor(options: OpenOffersOptions) {
    this.#o = options;
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED where `peerNode`, or all peers together, have no place left. */
  assertRoom(peerNode: string): void {
    const { quotas, maxStreams } = this.#o;
    const ofPeers = Math.ceil(maxStreams / 2);
    const has = () => this.#byPeer.get(peerNode)?.size ?? 0;
    if (has() >= quotas.offers || this.#count >= ofPeers) this.#sweep();
    if (has() >= quotas.offers) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `the other node holds its limit of ${quotas.offers} open offers of node ${peerNode} (limits.max_open_offers_per_peer)`,
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
    const ofPeer = this.#byPeer.get(stream.peerNode) ?? new Map<KeyStream, Offer>();
    this.#byPeer.set(stream.peerNode, ofPeer);
    const known = ofPeer.get(stream);
    if (known) known.seenMs = this.#o.now();
    else {
      ofPeer.set(stream, { seenMs: this.#o.now(), taken: false });
      this.#count += 1;
    }
  }

  /** The oldest offer that fits and that nobody is joining. A predefined KSID is joined by naming it only. */
  oldest(wish: OfferWish): KeyStream | undefined {
    for (const [stream, offer] of this.#byPeer.get(wish.terms.sourceNode) ?? []) {
      if (!offer.taken && !stream.ended && fits(stream, wish)) return stream;
    }
    return undefined;
  }

  /** Keeps an offer for whoever joins it now; `remove` or `putBack` follows. */
  take(stream: KeyStream): void {
    const offer = this.#byPeer.get(stream.peerNode)?.get(stream);
    if (offer) offer.taken = true;
  }

  /** Nobody is joining the offer any more; it is as good as one that was just repeated. */
  putBack(stream: KeyStream): void {
    const offer = this.#byPeer.get(stream.peerNode)?.get(stream);
    if (!offer) return;
    offer.taken = false;
    offer.seenMs = this.#o.now();
  }

  remove(stream: KeyStream): void {
    if (this.#byPeer.get(stream.peerNode)?.delete(stream)) this.#count -= 1;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #sweep(): void {
    const oldest = this.#o.now() - OFFER_LIMIT_MS;
    for (const ofPeer of this.#byPeer.values()) {
      for (const [stream, { seenMs, taken }] of ofPeer) {
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
