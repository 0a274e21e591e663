import type { NodeConfig } from '#common/config/node-config.ts';
import { assertLength } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import { uuidText } from '#common/ids/uuid.ts';
import { PROTOCOL_VERSION, VERSION } from '#common/service/version.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../clients/node-services.ts';
import { HeldBatches } from '../production/responder/held-batches.ts';
import { ResponderProducer } from '../production/responder/responder-producer.ts';
import type { MemoryStreamStore } from '../store/memory-stream-store.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamTerms } from '../streams/stream-terms.ts';
import { fits, OpenOffers } from './open-offers.ts';
import { meetQos } from './qos.ts';
import { isAwaited, RefusedOffers } from './refused-offers.ts';
import { assertRepeated } from './repeated-offer.ts';
import type { StreamFactory } from './stream-factory.ts';
import type { StreamWish } from './stream-wish.ts';

const INCARNATION_BYTES = 8;

/** For so long nobody tries to join offers of an initiator that could not be reached. */
const RETRY_MS = 1_000;

/** An application that waits for an offer. */
interface WaitingApp {
  readonly wish: StreamWish;
  /** Gives it the stream, or has it look at the open offers again. */
  readonly take: (stream: KeyStream | undefined) => void;
  readonly refuse: (error: unknown) => void;
}

/** What became of an attempt to join an offer. */
type Attempt = 'accepted' | 'refused' | 'unreachable';

/**
 * The responder's half of opening: gives the offers of peers to this node's
 * applications, first come first served.
 */
export class ResponderOpening {
  readonly #config: NodeConfig;
  readonly #services: NodeServices;
  readonly #registry: MemoryStreamStore;
  readonly #factory: StreamFactory;
  readonly #offers: OpenOffers;
  readonly #waiting = new Set<WaitingApp>();
  readonly #refused: RefusedOffers;
  /** Peers that did not answer a Join, and until when they are left alone; an offer of theirs ends it. */
  readonly #unreachable = new Map<string, number>();

  constructor(
    config: NodeConfig,
    services: NodeServices,
    registry: MemoryStreamStore,
    factory: StreamFactory,
  ) {
    this.#config = config;
    this.#services = services;
    this.#registry = registry;
    this.#factory = factory;
    this.#refused = new RefusedOffers(services.now);
    const { quotas, maxStreams } = registry;
    this.#offers = new OpenOffers({
      now: services.now,
      quotas,
      maxStreams,
      onStale: (stream) => this.#end(stream),
    });
  }

  stop(): void {
    this.#offers.stop();
  }

  /** Joins the oldest open offer, or waits for one, until the wish's time is over or its application has gone. */
  async open(wish: StreamWish): Promise<KeyStream> {
    const { now } = this.#services;
    const deadline = now() + wish.timeoutMs;
    this.#assertKsidFree(wish);
    for (;;) {
      const leftMs = deadline - now();
      if (wish.signal.aborted) throw new KeyweaveError('TIMEOUT', 'the application has gone away');
      if (leftMs <= 0) throw new KeyweaveError('TIMEOUT', 'The client peer did not start the session');
      const offer = this.#offers.oldest(wish);
      const refusal = offer ? undefined : this.#refused.take(wish);
      if (refusal !== undefined) throw refusal;
      const silentMs = offer ? (this.#unreachable.get(offer.peerNode) ?? 0) - now() : leftMs;
      if (offer && silentMs <= 0) {
        if (await this.#tryJoin(offer, wish, leftMs)) return offer;
      } else {
        const stream = await this.#waitForOffer(wish, Math.min(leftMs, silentMs));
        if (stream) return stream;
      }
    }
  }

  /** KeyAgreement.Open. */
  offered(request: OpenRequest, terms: StreamTerms, peerNode: string): OpenResponse {
    const ksid = uuidText('key_stream_id', request.keyStreamId);
    assertLength('incarnation', request.incarnation, INCARNATION_BYTES);
    this.#unreachable.delete(peerNode);
    this.#refused.forget(request, peerNode);
    let stream = this.#registry.get(ksid);
    if (stream) this.#assertSamePair(stream, request);
    if (stream && !stream.incarnation.equals(request.incarnation)) {
      this.#endOld(stream, request);
      stream = undefined;
    }
    if (stream) assertRepeated(stream, request, terms, this.#config);
    else stream = this.#acceptOffer(ksid, request, terms, peerNode);
    if (stream.local === 'absent') {
      this.#offers.note(stream);
      this.#giveToWaitingApp(stream);
    }
    return {
      joined: stream.local === 'joined',
      qos: stream.qos,
      allowDegraded: stream.allowDegraded,
      softwareVersion: VERSION,
      protocolVersion: PROTOCOL_VERSION,
    };
  }

  /** Tells the application that waits for an offer of `peerNode`, or will come soon, why it was refused. */
  refuseWaiting(offer: OpenRequest, peerNode: string, error: unknown): void {
    const ksid = uuidText('key_stream_id', offer.keyStreamId);
    for (const app of this.#waiting) {
      if (app.wish.terms.sourceNode !== peerNode || !isAwaited(offer, ksid, app.wish)) continue;
      this.#waiting.delete(app);
      app.refuse(error);
      return;
    }
    this.#refused.note(offer, ksid, peerNode, error);
  }

  #assertKsidFree(wish: StreamWish): void {
    const known = wish.ksid === undefined ? undefined : this.#registry.get(wish.ksid);
    if (!known) return;
    if (!known.isPair(wish.terms.source, wish.terms.destination)) {
      throw new KeyweaveError(
        'KSID_IN_USE',
        `key_stream_id ${shortKsid(known.id)}… belongs to another source and destination`,
      );
    }
    if (known.local !== 'absent')
      throw new KeyweaveError(
        'KSID_IN_USE',
        `key_stream_id ${shortKsid(known.id)}… is open at this end; close it first`,
      );
  }

  /**
   * Takes an offer for this end's application if the initiator's still waits.
   * Whatever comes of it, an offer that the application does not get is left
   * for the next one.
   */
  async #tryJoin(offer: KeyStream, wish: StreamWish, leftMs: number): Promise<boolean> {
    this.#offers.take(offer);
    offer.local = 'waiting';
    const joining = this.#join(offer, Math.min(leftMs, STEP_TIMEOUT_MS.rendezvous));
    const attempt = await waitFor(joining, leftMs, wish.signal);
    if (attempt === 'accepted' && !offer.ended) {
      this.#offers.remove(offer);
      offer.local = 'joined';
      offer.peer = 'joined';
      return true;
    }
    // At once, or when an answer comes for which the application did not wait.
    void joining.then((answer) => this.#leave(offer, answer));
    return false;
  }

  /** Never rejects. */
  #join(offer: KeyStream, timeoutMs: number): Promise<Attempt> {
    const { log } = this.#services;
    return this.#services
      .peer(offer.peerNode)
      .join({ keyStreamId: offer.idBytes, incarnation: offer.incarnation }, timeoutMs)
      .then(
        ({ accepted }) => (accepted ? 'accepted' : 'refused'),
        (cause: unknown) => {
          log.info('an offer could not be joined', { ksid: offer.id }, cause);
          return KeyweaveError.from(cause).retryable ? 'unreachable' : 'refused';
        },
      );
  }

  /** An attempt is over without an application that has the offer. */
  #leave(offer: KeyStream, attempt: Attempt): void {
    if (offer.ended || attempt === 'refused') {
      this.#offers.remove(offer);
      this.#end(offer);
      return;
    }
    offer.local = 'absent';
    this.#offers.putBack(offer);
    if (attempt === 'accepted') {
      offer.peer = 'joined';
      this.#giveToWaitingApp(offer);
    } else {
      this.#unreachable.set(offer.peerNode, this.#services.now() + RETRY_MS);
      this.#firstWaiting(offer)?.take(undefined);
    }
  }

  async #waitForOffer(wish: StreamWish, ms: number): Promise<KeyStream | undefined> {
    const taken = Promise.withResolvers<KeyStream | undefined>();
    const app: WaitingApp = { wish, take: taken.resolve, refuse: taken.reject };
    this.#waiting.add(app);
    try {
      return await waitFor(taken.promise, ms, wish.signal);
    } finally {
      this.#waiting.delete(app);
    }
  }

  #firstWaiting(stream: KeyStream): WaitingApp | undefined {
    for (const app of this.#waiting) {
      if (fits(stream, app.wish) && !app.wish.signal.aborted) return app;
    }
    return undefined;
  }

  #giveToWaitingApp(stream: KeyStream): void {
    const app = this.#firstWaiting(stream);
    if (!app) return;
    this.#waiting.delete(app);
    this.#offers.remove(stream);
    stream.local = 'joined';
    stream.peer = 'joined';
    app.take(stream);
  }

  #acceptOffer(ksid: string, request: OpenRequest, terms: StreamTerms, peerNode: string): KeyStream {
    if (!request.qos) throw new KeyweaveError('BAD_REQUEST', 'the offer carries no QoS');
    if (this.#registry.ended.has(peerNode, ksid, request.incarnation)) {
      throw new KeyweaveError('UNKNOWN_STREAM', 'the other end has closed this stream');
    }
    for (const { wish } of this.#waiting) {
      const isOther = wish.terms.source !== terms.source || wish.terms.destination !== terms.destination;
      if (wish.ksid === ksid && isOther) {
        throw new KeyweaveError(
          'KSID_IN_USE',
          `key_stream_id ${shortKsid(ksid)}… belongs to another source and destination`,
        );
      }
    }
    this.#offers.assertRoom(peerNode);
    const stream = this.#factory.create({
      ksid,
      // A copy: the message is lent.
      incarnation: Buffer.from(request.incarnation),
      terms,
      role: 'responder',
      qos: meetQos(request.qos, terms, this.#config),
      predefined: request.predefined,
    });
    stream.allowDegraded = request.allowDegraded && this.#factory.mayDegrade(peerNode);
    const exchange = new HeldBatches(this.#services, stream);
    stream.supply = new ResponderProducer(this.#services, exchange);
    this.#registry.add(stream, exchange);
    return stream;
  }

  /** The URIs name both nodes: a pair is one peer's alone, and never one that this node leads. */
  #assertSamePair(stream: KeyStream, request: OpenRequest): void {
    if (!stream.isPair(request.source, request.destination)) {
      throw new KeyweaveError(
        'KSID_IN_USE',
        `key_stream_id ${shortKsid(stream.id)}… is in use at the other node`,
      );
    }
  }

  /** The initiator has lost its end, and offers the KSID anew: what is left here belongs to nobody. */
  #endOld(stream: KeyStream, { incarnation }: OpenRequest): void {
    if (this.#registry.ended.has(stream.peerNode, stream.id, incarnation)) {
      throw new KeyweaveError('UNKNOWN_STREAM', 'the other end has opened this KSID anew since');
    }
    const why = new KeyweaveError('UNKNOWN_STREAM', 'the other end has opened this KSID anew; open it again');
    this.#services.log.info('a stream was opened anew by the other end', { ksid: stream.id });
    this.#registry.remove(stream);
    this.#registry.ended.note(stream, why);
    stream.end(why);
  }

  /** Ends an offer that nobody here has joined; an initiator that believes otherwise is told. */
  #end(stream: KeyStream): void {
    this.#registry.remove(stream);
    stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the offer was withdrawn'));
    if (stream.peer !== 'joined') return;
    this.#services
      .peer(stream.peerNode)
      .close(
        { keyStreamId: stream.idBytes, incarnation: stream.incarnation, reason: 'nobody has joined' },
        STEP_TIMEOUT_MS.close,
      )
      .catch(() => undefined);
  }
}
