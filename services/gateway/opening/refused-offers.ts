import type { Clock } from '#common/time/clock.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import type { StreamTerms } from '../streams/stream-terms.ts';

/** The application that an offer is for may come a little later than the offer. */
const LIMIT_MS = 10_000;

/** Refusals that are remembered for each peer. */
const MAX_PER_PEER = 64;

/** What an application that waits for an offer has named. */
export interface AwaitedOffer {
  readonly terms: StreamTerms;
  readonly ksid: string | undefined;
}

/** What of a refused offer says whom it was for. */
interface Refusal {
  readonly source: string;
  readonly destination: string;
  readonly predefined: boolean;
  readonly ksid: string;
  readonly error: unknown;
  readonly untilMs: number;
}

/**
 * Offers that were refused while no application of this end waited for them:
 * the next one that names the same pair is told why, once, and need not wait
 * for an offer that will not come.
 */
export class RefusedOffers {
  /** Each peer's, oldest first. */
  readonly #byPeer = new Map<string, Refusal[]>();
  readonly #clock: Pick<Clock, 'monotonicMs'>;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Remembers a refusal in place of an older one of the same pair; the oldest of a peer gives way. */
  note(offer: OpenRequest, ksid: string, peerNode: string, error: unknown): void {
    this.forget(offer, peerNode);
    const { source, destination, predefined } = offer;
    const refusals = this.#fresh(peerNode);
    const untilMs = this.#clock.monotonicMs() + LIMIT_MS;
    refusals.push({ source, destination, predefined, ksid, error, untilMs });
    this.#byPeer.set(peerNode, refusals.slice(-MAX_PER_PEER));
  }

  /** Forgets what was refused of a pair, since the peer now offers what can be taken. */
  forget({ source, destination }: OpenRequest, peerNode: string): void {
    const others = this.#fresh(peerNode).filter(
      (refusal) => refusal.source !== source || refusal.destination !== destination,
    );
    this.#byPeer.set(peerNode, others);
  }

  /** Why the offer that an application would wait for has been refused, if it has; each refusal is told once. */
  take(awaited: AwaitedOffer): unknown {
    const peerNode = awaited.terms.sourceNode;
    const refusals = this.#fresh(peerNode);
    const told = refusals.find((refusal) => isAwaited(refusal, refusal.ksid, awaited));
    if (!told) return undefined;
    this.#byPeer.set(
      peerNode,
      refusals.filter((refusal) => refusal !== told),
    );
    return told.error;
  }

  #fresh(peerNode: string): Refusal[] {
    const now = this.#clock.monotonicMs();
    return (this.#byPeer.get(peerNode) ?? []).filter(({ untilMs }) => untilMs > now);
  }
}

/** Whether an offer is the one that an application waits for. A predefined KSID is met by naming it only. */
export function isAwaited(
  offer: Pick<OpenRequest, 'source' | 'destination' | 'predefined'>,
  ksid: string,
  { terms, ksid: named }: AwaitedOffer,
): boolean {
  return (
    terms.source === offer.source &&
    terms.destination === offer.destination &&
    (named === undefined ? !offer.predefined : named === ksid)
  );
}
