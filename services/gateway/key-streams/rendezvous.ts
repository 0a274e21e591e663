import type { NodeConfig } from '#common/config/node-config.ts';
import { uuidText } from '#common/crypto/uuid.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PROTOCOL_VERSION, VERSION } from '#common/lifecycle/version.ts';
import { waitFor } from '#common/lifecycle/wait-for.ts';
import type { OpenRequest, OpenResponse, Qos } from '#gen/keyweave/v1/key_agreement.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../sources/node-services.ts';
import { InitiatorSupply } from './initiator-supply.ts';
import { KeyStream } from './key-stream.ts';
import { ProductionSchedulers } from './production-scheduler.ts';
import { meetQos } from './qos.ts';
import { isAwaited, RefusedOffers } from './refused-offers.ts';
import { ResponderDemand } from './responder-demand.ts';
import { ResponderExchange } from './responder-exchange.ts';
import type { StreamRegistry } from './stream-registry.ts';
import { type StreamTerms, standInSlot } from './stream-terms.ts';

/** How often a waiting initiator repeats its offer, so that a restarted peer learns of it. */
const OFFER_REFRESH_MS = 1_000;

/** An offer that has not been repeated for this long is forgotten. */
const OFFER_LIMIT_MS = 15_000;

const RETRY_DELAY_MS = 100;

/** What an application wants of a stream. */
export interface StreamWish {
  readonly terms: StreamTerms;
  readonly qos: Qos;
  readonly ksid: string | undefined;
  readonly presence: 'app' | 'node';
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface InitiatorWish extends StreamWish {
  readonly ksid: string;
  readonly predefined: boolean;
}

interface WaitingApp {
  readonly wish: StreamWish;
  readonly take: (stream: KeyStream) => void;
  readonly refuse: (error: unknown) => void;
}

export interface RendezvousOptions {
  config: NodeConfig;
  services: NodeServices;
  registry: StreamRegistry;
}

/**
 * Brings the applications of both ends together: by KSID, or by identical
 * (source, destination), first come first served. Streams whose own
 * application is still missing are the responder's open offers.
 */
export class Rendezvous {
  readonly #config: NodeConfig;
  readonly #services: NodeServices;
  readonly #registry: StreamRegistry;
  /** The responder's applications that wait for an offer. */
  readonly #waiting = new Set<WaitingApp>();
  /** When each open offer was last repeated. */
  readonly #offers = new Map<KeyStream, number>();
  /** The initiator's applications that wait for the responder's. */
  readonly #joined = new Map<KeyStream, () => void>();
  readonly #schedulers: ProductionSchedulers;
  readonly #refused: RefusedOffers;

  constructor(options: RendezvousOptions) {
    this.#config = options.config;
    this.#services = options.services;
    this.#registry = options.registry;
    this.#schedulers = new ProductionSchedulers(options.services);
    this.#refused = new RefusedOffers(options.services.now);
  }

  /** Offers the stream to the peer and waits for its application. */
  async openAsInitiator(wish: InitiatorWish): Promise<KeyStream> {
    const known = this.#registry.get(wish.ksid);
    if (known) throw new KeyweaveError('KSID_IN_USE', `key_stream_id ${wish.ksid} is in use at this end`);
    const stream = this.#createStream(wish.ksid, wish.terms, 'initiator', wish.qos, wish.predefined);
    stream.local = 'waiting';
    stream.supply = new InitiatorSupply(this.#services, stream, this.#schedulers.of(stream.peerNode));
    this.#registry.add(stream);
    try {
      await this.#offerUntilJoined(stream, wish);
      return stream;
    } catch (error) {
      this.#withdraw(stream);
      throw error;
    } finally {
      this.#joined.delete(stream);
    }
  }

  /** Joins the oldest open offer, or waits for one. */
  async openAsResponder(wish: StreamWish): Promise<KeyStream> {
    const deadline = this.#services.now() + wish.timeoutMs;
    this.#assertKsidFree(wish);
    for (const offer of this.#matchingOffers(wish)) {
      if (await this.#tryJoin(offer)) return offer;
    }
    const refusal = this.#refused.take(wish);
    if (refusal !== undefined) throw refusal;
    return this.#waitForOffer(wish, deadline);
  }

  /** KeyAgreement.Open at the responder. */
  offered(request: OpenRequest, terms: StreamTerms, peerNode: string): OpenResponse {
    const ksid = uuidText('key_stream_id', request.keyStreamId);
    this.#refused.forget(request, peerNode);
    let stream = this.#registry.get(ksid);
    if (stream) this.#assertSameOffer(stream, request, peerNode);
    else stream = this.#acceptOffer(ksid, request, terms, peerNode);
    if (stream.local === 'absent') {
      this.#offers.set(stream, this.#services.now());
      this.#dropStaleOffers();
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

  /** KeyAgreement.Join at the initiator: whether the application still waits. */
  joinedByPeer(stream: KeyStream): boolean {
    if (stream.role !== 'initiator' || stream.ended || stream.local === 'absent') return false;
    stream.peer = 'joined';
    this.#joined.get(stream)?.();
    stream.refill();
    return true;
  }

  /** Forgets an offer whose initiator has closed it. */
  forget(stream: KeyStream): void {
    this.#offers.delete(stream);
  }

  async #offerUntilJoined(stream: KeyStream, wish: InitiatorWish): Promise<void> {
    const { now } = this.#services;
    const deadline = now() + wish.timeoutMs;
    let lastFailure: KeyweaveError | undefined;
    for (;;) {
      const left = deadline - now();
      if (left <= 0) throw this.#neverJoined(lastFailure);
      if (wish.signal.aborted) throw new KeyweaveError('TIMEOUT', 'the application has gone away');
      const joined = this.#joinSignal(stream);
      let pause = OFFER_REFRESH_MS;
      try {
        const response = await this.#offer(stream, wish, Math.min(left, STEP_TIMEOUT_MS.rendezvous));
        lastFailure = undefined;
        if (response.joined) this.joinedByPeer(stream);
      } catch (thrown) {
        lastFailure = KeyweaveError.from(thrown);
        if (!isReason(lastFailure, 'PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN'))
          throw lastFailure;
        pause = RETRY_DELAY_MS;
      }
      if (stream.ended)
        throw new KeyweaveError('UNKNOWN_STREAM', 'the stream was closed while it was being opened');
      // Closing the stream or losing the application cannot be undone by the peer, so only its absence is waited for.
      if ((stream.peer as string) === 'joined' || (wish.presence === 'node' && !lastFailure)) {
        stream.local = 'joined';
        if (stream.peer !== 'joined') this.#keepOffering(stream, wish);
        return;
      }
      await waitFor(joined, Math.min(pause, Math.max(1, deadline - now())), wish.signal);
      if ((stream.peer as string) === 'joined') {
        stream.local = 'joined';
        return;
      }
    }
  }

  async #offer(stream: KeyStream, wish: InitiatorWish, timeoutMs: number): Promise<OpenResponse> {
    const response = await this.#services.peer(stream.peerNode).open(
      {
        protocolVersion: PROTOCOL_VERSION,
        keyStreamId: stream.idBytes,
        source: stream.terms.source,
        destination: stream.terms.destination,
        method: stream.terms.method.name,
        slots: [...stream.terms.slots],
        qos: wish.qos,
        predefined: wish.predefined,
        allowDegraded: this.mayDegrade(stream.peerNode),
        softwareVersion: VERSION,
      },
      timeoutMs,
    );
    if (standInSlot(stream.terms) !== 0) assertDegradedAllowed(stream, response);
    if (response.qos) stream.qos = meetQos(response.qos, stream.terms, this.#config);
    stream.allowDegraded = this.mayDegrade(stream.peerNode) && response.allowDegraded;
    return response;
  }

  /** A stream that needs no peer application is offered on until that application comes. */
  #keepOffering(stream: KeyStream, wish: InitiatorWish): void {
    const timer = setInterval(() => {
      if (stream.ended || stream.peer !== 'absent') {
        clearInterval(timer);
        return;
      }
      this.#offer(stream, wish, STEP_TIMEOUT_MS.rendezvous).then(
        (response) => response.joined && this.joinedByPeer(stream),
        (cause: unknown) => this.#services.log.debug('an offer was not repeated', { ksid: stream.id }, cause),
      );
    }, OFFER_LIMIT_MS / 3);
    timer.unref();
  }

  #neverJoined(lastFailure: KeyweaveError | undefined): KeyweaveError {
    if (lastFailure) {
      return new KeyweaveError(
        'PEER_UNREACHABLE',
        `the peer node did not answer in time: ${lastFailure.detail}`,
      );
    }
    return new KeyweaveError(
      'TIMEOUT',
      'The read operation timed out: the peer application did not open the stream',
    );
  }

  #joinSignal(stream: KeyStream): Promise<void> {
    return new Promise((resolve) => {
      this.#joined.set(stream, resolve);
    });
  }

  #withdraw(stream: KeyStream): void {
    this.#registry.remove(stream);
    stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the stream was never opened'));
    this.#services
      .peer(stream.peerNode)
      .close({ keyStreamId: stream.idBytes, reason: 'withdrawn' }, STEP_TIMEOUT_MS.close)
      .catch(() => undefined);
  }

  #assertKsidFree(wish: StreamWish): void {
    const known = wish.ksid === undefined ? undefined : this.#registry.get(wish.ksid);
    if (!known) return;
    if (!known.isPair(wish.terms.source, wish.terms.destination)) {
      throw new KeyweaveError(
        'KSID_IN_USE',
        `key_stream_id ${known.id} belongs to another source and destination`,
      );
    }
    if (known.local !== 'absent')
      throw new KeyweaveError('KSID_IN_USE', `key_stream_id ${known.id} is open at this end`);
  }

  /** Open offers for a wish, oldest first. A predefined KSID is joined by naming it only. */
  #matchingOffers(wish: StreamWish): KeyStream[] {
    this.#dropStaleOffers();
    return [...this.#offers.keys()].filter(
      (offer) =>
        offer.isPair(wish.terms.source, wish.terms.destination) &&
        (wish.ksid === undefined ? !offer.predefined : offer.id === wish.ksid),
    );
  }

  /** Takes an offer for this end's application if the initiator's still waits. */
  async #tryJoin(offer: KeyStream): Promise<boolean> {
    if (!this.#offers.delete(offer) || offer.ended) return false;
    offer.local = 'waiting';
    const services = this.#services;
    const accepted = await services
      .peer(offer.peerNode)
      .join({ keyStreamId: offer.idBytes }, STEP_TIMEOUT_MS.rendezvous)
      .then((response) => response.accepted)
      .catch((cause: unknown) => {
        services.log.info('an offer could not be joined', { ksid: offer.id }, cause);
        return false;
      });
    if (accepted && !offer.ended) {
      offer.local = 'joined';
      offer.peer = 'joined';
      return true;
    }
    this.#withdraw(offer);
    return false;
  }

  async #waitForOffer(wish: StreamWish, deadline: number): Promise<KeyStream> {
    const taken = Promise.withResolvers<KeyStream>();
    const app: WaitingApp = { wish, take: taken.resolve, refuse: taken.reject };
    this.#waiting.add(app);
    try {
      const left = Math.max(1, deadline - this.#services.now());
      const stream = await waitFor(taken.promise, left, wish.signal);
      if (!stream) throw new KeyweaveError('TIMEOUT', 'The client peer did not start the session');
      return stream;
    } finally {
      this.#waiting.delete(app);
    }
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

  #giveToWaitingApp(stream: KeyStream): void {
    for (const app of this.#waiting) {
      const { wish } = app;
      const fits = wish.ksid === undefined ? !stream.predefined : wish.ksid === stream.id;
      if (!fits || wish.signal.aborted || !stream.isPair(wish.terms.source, wish.terms.destination)) continue;
      this.#waiting.delete(app);
      this.#offers.delete(stream);
      stream.local = 'joined';
      stream.peer = 'joined';
      app.take(stream);
      return;
    }
  }

  #acceptOffer(ksid: string, request: OpenRequest, terms: StreamTerms, peerNode: string): KeyStream {
    if (!request.qos) throw new KeyweaveError('BAD_REQUEST', 'the offer carries no QoS');
    for (const app of this.#waiting) {
      if (app.wish.ksid === ksid && !sameTerms(app.wish.terms, terms)) {
        throw new KeyweaveError(
          'KSID_IN_USE',
          `key_stream_id ${ksid} belongs to another source and destination`,
        );
      }
    }
    const qos = meetQos(request.qos, terms, this.#config);
    const stream = this.#createStream(ksid, terms, 'responder', qos, request.predefined);
    stream.allowDegraded = request.allowDegraded && this.mayDegrade(peerNode);
    const exchange = new ResponderExchange(this.#services, stream);
    stream.supply = new ResponderDemand(this.#services, exchange);
    this.#registry.add(stream, exchange);
    return stream;
  }

  #assertSameOffer(stream: KeyStream, request: OpenRequest, peerNode: string): void {
    if (
      stream.peerNode !== peerNode ||
      !stream.isPair(request.source, request.destination) ||
      stream.role !== 'responder'
    ) {
      throw new KeyweaveError('KSID_IN_USE', `key_stream_id ${stream.id} is in use at the other node`);
    }
  }

  #createStream(
    ksid: string,
    terms: StreamTerms,
    role: 'initiator' | 'responder',
    qos: Qos,
    predefined: boolean,
  ): KeyStream {
    const { limits } = this.#config;
    return new KeyStream({
      id: ksid,
      terms,
      role,
      peerNode: role === 'initiator' ? terms.destinationNode : terms.sourceNode,
      qos,
      predefined,
      allowDegraded: false,
      maxPrefetchChunks: limits.max_prefetch_chunks,
      maxBufferedChunks: limits.max_buffered_chunks,
      now: this.#services.now,
    });
  }

  /** Whether this node's policy lets a shared_seed stand in for a source towards a peer. */
  mayDegrade(peerNode: string): boolean {
    return (
      this.#config.policy.missing_source === 'shared_seed' &&
      this.#services.sharedSeed(peerNode) !== undefined
    );
  }

  #dropStaleOffers(): void {
    const oldest = this.#services.now() - OFFER_LIMIT_MS;
    for (const [offer, seenMs] of this.#offers) {
      if (seenMs >= oldest && !offer.ended) continue;
      this.#offers.delete(offer);
      this.#registry.remove(offer);
      offer.end(new KeyweaveError('UNKNOWN_STREAM', 'the offer was withdrawn'));
    }
  }
}

/** The stand-in is a source of the stream: without the other end's consent there is no stream. */
function assertDegradedAllowed(stream: KeyStream, { allowDegraded }: OpenResponse): void {
  if (allowDegraded) return;
  throw new KeyweaveError('UNSUPPORTED', `node ${stream.peerNode} lets no shared_seed stand in for a source`);
}

function sameTerms(a: StreamTerms, b: StreamTerms): boolean {
  return a.source === b.source && a.destination === b.destination;
}
