import { assertLength } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import { uuidText } from '#common/ids/uuid.ts';
import type { Log } from '#common/log/log.ts';
import { PROTOCOL_VERSION, VERSION } from '#common/service/version.ts';
import type { Clock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLinks } from '../clients/peer-link.ts';
import type { StreamStore } from '../store/stream-store.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { bothLet, inMessage, LACKS_NOTHING } from '../streams/policy/lacking.ts';
import type { NodePolicy } from '../streams/policy/node-policy.ts';
import { directRoute } from '../streams/route.ts';
import type { StreamTerms } from '../streams/stream-terms.ts';
import { isForAll, offerTerms } from './offer-terms.ts';
import { OpenOffers } from './open-offers.ts';
import { meetQos, type QosLimits } from './qos.ts';
import { RefusedOffers } from './refused-offers.ts';
import { assertRepeated } from './repeated-offer.ts';
import type { StreamEnds } from './stream-ends.ts';
import type { StreamFactory } from './stream-factory.ts';
import type { StreamWish } from './stream-wish.ts';
import type { AssertUsable } from './usable-algorithms.ts';
import { isOfListener, OfferTakers, ofAnotherPair, WaitingApplications } from './waiting-applications.ts';

const INCARNATION_BYTES = 8;

/** For so long nobody tries to join offers of an initiator that could not be reached. */
const RETRY_MS = 1_000;

export interface ResponderOpeningOptions {
  /** UUID of this node. */
  readonly nodeUuid: string;
  readonly limits: QosLimits;
  readonly store: StreamStore;
  readonly factory: Pick<StreamFactory, 'create' | 'mayDegrade'>;
  readonly policy: NodePolicy;
  readonly ends: Pick<StreamEnds, 'forgetOffer' | 'supersede'>;
  readonly links: PeerLinks;
  readonly assertUsable: AssertUsable;
  readonly clock: Clock;
  readonly log: Log;
}

/** What became of an attempt to join an offer. */
type Attempt = 'accepted' | 'refused' | 'unreachable';

/**
 * The responder's half of opening: gives the offers of peers to this node's
 * applications, first come first served.
 */
export class ResponderOpening {
  /** Listeners that take offers by themselves. */
  readonly takers = new OfferTakers();
  readonly #o: ResponderOpeningOptions;
  readonly #offers: OpenOffers;
  readonly #waiting: WaitingApplications;
  readonly #refused: RefusedOffers;
  /** Peers that did not answer a Join, and until when they are left alone; an offer of theirs ends it. */
  readonly #unreachable = new Map<string, number>();

  constructor(options: ResponderOpeningOptions) {
    this.#o = options;
    const { clock, ends, store } = options;
    this.#waiting = new WaitingApplications(clock);
    this.#refused = new RefusedOffers(clock);
    this.#offers = new OpenOffers({
      ...{ clock, quotas: store.quotas, maxStreams: store.maxStreams },
      onStale: (stream) => ends.forgetOffer(stream),
    });
  }

  /** Ends what runs by itself. */
  stop(): void {
    this.#offers.stop();
  }

  /**
   * Joins the oldest open offer, or waits for one, until the wish's time is
   * over or its application has gone.
   *
   * @throws KeyweaveError KSID_IN_USE, TIMEOUT, UNSUPPORTED where its listener
   *   wants more of a stream than the offer has, or what an offer for it was refused for.
   */
  async open(wish: StreamWish): Promise<KeyStream> {
    const { clock } = this.#o;
    const deadline = clock.monotonicMs() + wish.timeoutMs;
    this.#assertKsidFree(wish);
    for (;;) {
      const leftMs = deadline - clock.monotonicMs();
      if (wish.signal.aborted) throw new KeyweaveError('TIMEOUT', 'the application has gone away');
      if (leftMs <= 0) throw new KeyweaveError('TIMEOUT', 'The client peer did not start the session');
      const offer = this.#offers.oldest(wish);
      const refusal = offer ? undefined : this.#refused.take(wish);
      if (refusal !== undefined) throw refusal;
      const silentMs = offer ? this.#silentMs(offer.route.farNode) : leftMs;
      if (offer && silentMs <= 0) {
        wish.judge?.(offer);
        if (await this.#tryJoin(offer, wish, leftMs)) return offer;
      } else {
        const stream = await this.#waiting.wait(wish, Math.min(leftMs, silentMs));
        if (stream) {
          // The other end is answered first: its application is farther away.
          await new Promise<void>((resolve) => clock.soon(resolve));
          return stream;
        }
      }
    }
  }

  /**
   * An offer of `peer` (KeyAgreement.Open). What of it cannot be had, as this
   * node or the peer says, is told to the application that waits for it, or
   * will come soon, at this end, too.
   *
   * @throws KeyweaveError saying what is wrong with it.
   */
  async offered(request: OpenRequest, peer: string): Promise<OpenResponse> {
    const { nodeUuid, factory, policy, assertUsable } = this.#o;
    try {
      const terms = offerTerms(request, peer, { nodeUuid, mayDegrade: (node) => factory.mayDegrade(node) });
      policy.assertFloor(terms, peer);
      await assertUsable(terms);
      return this.#answer(request, terms, peer);
    } catch (thrown) {
      if (isForAll(thrown)) this.#refuse(request, peer, thrown);
      throw thrown;
    }
  }

  #answer(request: OpenRequest, terms: StreamTerms, peer: string): OpenResponse {
    const ksid = uuidText('key_stream_id', request.keyStreamId);
    assertLength('incarnation', request.incarnation, INCARNATION_BYTES);
    this.#unreachable.delete(peer);
    this.#refused.forget(request, peer);
    const held = this.#held(ksid, request, terms);
    const taker = held?.local === 'joined' ? undefined : this.#takerOf(ksid, request, terms, peer);
    const stream = held ?? this.#accept(ksid, request, terms, peer);
    if (taker) {
      this.#offers.remove(stream);
      this.#o.policy.narrow(stream, taker.policy);
      stream.join(taker.owner);
      stream.peerJoined();
      taker.opened();
    } else if (stream.local === 'absent') {
      this.#offers.note(stream);
      this.#giveToWaiting(stream);
    }
    return {
      joined: stream.local === 'joined',
      qos: stream.qos,
      allowDegraded: stream.leeway.standIn,
      ...inMessage(stream.leeway.mayLack),
      softwareVersion: VERSION,
      protocolVersion: PROTOCOL_VERSION,
    };
  }

  /** The listener that takes the offer. @throws KeyweaveError that refuses it. */
  #takerOf(ksid: string, { source, destination, qos }: OpenRequest, terms: StreamTerms, peer: string) {
    if (!qos || !isOfListener(destination)) return undefined;
    return this.takers.takerOf({
      ...{ ksid, source, destination, peer, method: terms.method.name },
      sources: terms.slots.map(({ algorithm }) => algorithm),
      keyBytes: meetQos(qos, terms, this.#o.limits).keyChunkSize,
    });
  }

  #refuse(offer: OpenRequest, peer: string, error: unknown): void {
    const ksid = uuidText('key_stream_id', offer.keyStreamId);
    if (!this.#waiting.refuse(offer, ksid, peer, error)) this.#refused.note(offer, ksid, peer, error);
  }

  #assertKsidFree({ ksid, terms }: StreamWish): void {
    const known = ksid === undefined ? undefined : this.#o.store.get(ksid);
    if (!known) return;
    if (!known.isPair(terms.source, terms.destination)) throw ofAnotherPair(known.id);
    if (known.local !== 'absent')
      throw new KeyweaveError(
        'KSID_IN_USE',
        `key_stream_id ${shortKsid(known.id)}… is open at this end; close it first`,
      );
  }

  /** For how long the offers of an initiator are left alone; not positive where they are not. */
  #silentMs(farNode: string): number {
    return (this.#unreachable.get(farNode) ?? 0) - this.#o.clock.monotonicMs();
  }

  /**
   * Takes an offer for this end's application if the initiator's still waits.
   * Whatever comes of it, an offer that the application does not get is left
   * for the next one.
   */
  async #tryJoin(offer: KeyStream, wish: StreamWish, leftMs: number): Promise<boolean> {
    this.#offers.take(offer);
    offer.awaitPeer();
    const joining = this.#askToJoin(offer, leftMs);
    const attempt = await waitFor(joining, leftMs, wish.signal, this.#o.clock);
    if (attempt === 'accepted' && !offer.ended) {
      this.#offers.remove(offer);
      offer.join(wish.owner);
      offer.peerJoined();
      return true;
    }
    // At once, or when an answer comes for which the application did not wait.
    void joining.then((answer) => this.#leave(offer, answer));
    return false;
  }

  /** Never rejects. */
  #askToJoin({ id, idBytes, incarnation, route }: KeyStream, timeoutMs: number): Promise<Attempt> {
    const { links, log } = this.#o;
    return links
      .to(route.farNode)
      .join({ keyStreamId: idBytes, incarnation }, timeoutMs)
      .then(
        ({ accepted }) => (accepted ? 'accepted' : 'refused'),
        (cause: unknown) => {
          log.info('an offer could not be joined', { ksid: id }, cause);
          return KeyweaveError.from(cause).retryable ? 'unreachable' : 'refused';
        },
      );
  }

  /** An attempt is over without an application that has the offer. */
  #leave(offer: KeyStream, attempt: Attempt): void {
    if (offer.ended || attempt === 'refused') {
      this.#offers.remove(offer);
      this.#o.ends.forgetOffer(offer);
      return;
    }
    offer.leave();
    this.#offers.putBack(offer);
    if (attempt === 'accepted') {
      offer.peerJoined();
      this.#giveToWaiting(offer);
    } else {
      this.#unreachable.set(offer.route.farNode, this.#o.clock.monotonicMs() + RETRY_MS);
      this.#waiting.rouse(offer);
    }
  }

  #giveToWaiting(offer: KeyStream): void {
    if (!this.#waiting.give(offer)) return;
    this.#offers.remove(offer);
    offer.peerJoined();
  }

  /** The stream that an offer repeats; one of the same KSID whose end the initiator has lost goes. */
  #held(ksid: string, request: OpenRequest, terms: StreamTerms): KeyStream | undefined {
    const { store, limits } = this.#o;
    const stream = store.get(ksid);
    if (!stream) return undefined;
    // The URIs name both nodes: a pair is one peer's alone, and never one that this node leads.
    if (!stream.isPair(request.source, request.destination)) {
      throw new KeyweaveError('KSID_IN_USE', `key_stream_id ${shortKsid(ksid)}… is in use at the other node`);
    }
    if (stream.incarnation.equals(request.incarnation)) {
      assertRepeated(stream, request, terms, limits);
      return stream;
    }
    if (store.ended.has(stream.route.farNode, ksid, request.incarnation)) {
      throw new KeyweaveError('UNKNOWN_STREAM', 'the other end has opened this KSID anew since');
    }
    this.#o.log.info('a stream was opened anew by the other end', { ksid });
    const why = 'the other end has opened this KSID anew; open it again';
    this.#o.ends.supersede(stream, new KeyweaveError('UNKNOWN_STREAM', why));
    return undefined;
  }

  #accept(ksid: string, request: OpenRequest, terms: StreamTerms, peer: string): KeyStream {
    const { store, factory, policy, limits } = this.#o;
    const { qos, incarnation, predefined } = request;
    if (!qos) throw new KeyweaveError('BAD_REQUEST', 'the offer carries no QoS');
    if (store.ended.has(peer, ksid, incarnation)) {
      throw new KeyweaveError('UNKNOWN_STREAM', 'the other end has closed this stream');
    }
    this.#waiting.assertPair(ksid, terms);
    this.#offers.assertRoom(directRoute(peer).nextHop);
    const stream = factory.create({
      ...{ ksid, incarnation, terms, role: 'responder', predefined },
      qos: meetQos(qos, terms, limits),
      allowDegraded:
        request.allowDegraded && factory.mayDegrade(peer) && policy.mayReplace(terms, peer, undefined),
      mayLack: bothLet(request.mayLack ?? LACKS_NOTHING, policy.mayLack(terms, peer, undefined)),
    });
    store.add(stream);
    return stream;
  }
}
