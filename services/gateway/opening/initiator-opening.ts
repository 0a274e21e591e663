import { randomBytes } from 'node:crypto';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import { PROTOCOL_VERSION, VERSION } from '#common/service/version.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../clients/node-services.ts';
import { InitiatorProducer } from '../production/initiator/initiator-producer.ts';
import { RoundSchedulers } from '../production/initiator/round-scheduler.ts';
import type { MemoryStreamStore } from '../store/memory-stream-store.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { standInSlot } from '../streams/stream-terms.ts';
import { OFFER_LIMIT_MS } from './open-offers.ts';
import { agreedQos } from './qos.ts';
import type { StreamFactory } from './stream-factory.ts';
import type { InitiatorWish } from './stream-wish.ts';

/** How often a waiting initiator repeats its offer, so that a restarted peer learns of it. */
const OFFER_REFRESH_MS = 1_000;

const RETRY_DELAY_MS = 100;

const INCARNATION_BYTES = 8;

/** An OPEN_CONNECT that waits for the other end. */
interface Opening {
  readonly wish: InitiatorWish;
  readonly over: PromiseWithResolvers<void>;
  /** The other end's application has come. */
  joined: () => void;
}

/** The initiator's half of opening: offers a stream to the peer until its application comes. */
export class InitiatorOpening {
  readonly #services: NodeServices;
  readonly #registry: MemoryStreamStore;
  readonly #factory: StreamFactory;
  readonly #schedulers: RoundSchedulers;
  readonly #openings = new Map<KeyStream, Opening>();

  constructor(services: NodeServices, registry: MemoryStreamStore, factory: StreamFactory) {
    this.#services = services;
    this.#registry = registry;
    this.#factory = factory;
    this.#schedulers = new RoundSchedulers(services);
  }

  /** Offers the stream to the peer and waits for its application. */
  async open(wish: InitiatorWish): Promise<KeyStream> {
    const { ksid, terms, qos, predefined } = wish;
    if (this.#registry.get(ksid)) {
      throw new KeyweaveError(
        'KSID_IN_USE',
        `key_stream_id ${shortKsid(ksid)}… is in use at this end; close it first`,
      );
    }
    const incarnation = randomBytes(INCARNATION_BYTES);
    const stream = this.#factory.create({ ksid, incarnation, terms, role: 'initiator', qos, predefined });
    stream.local = 'waiting';
    stream.supply = new InitiatorProducer(this.#services, stream, this.#schedulers.of(stream.peerNode));
    this.#registry.add(stream);
    const opening: Opening = { wish, over: Promise.withResolvers(), joined: () => undefined };
    this.#openings.set(stream, opening);
    try {
      await this.#offerUntilJoined(stream, opening);
      return stream;
    } catch (error) {
      this.#withdraw(stream);
      throw error;
    } finally {
      this.#openings.delete(stream);
      opening.over.resolve();
    }
  }

  /** KeyAgreement.Join: whether the application still waits. */
  joinedByPeer(stream: KeyStream): boolean {
    if (stream.role !== 'initiator' || stream.ended || stream.local === 'absent') return false;
    const opening = this.#openings.get(stream);
    if (opening?.wish.signal.aborted) return false;
    stream.peer = 'joined';
    opening?.joined();
    // Nothing is made before both ends have agreed on the size of the chunks.
    if (stream.local === 'joined') stream.refill();
    return true;
  }

  /** When the OPEN_CONNECT of the stream is over; undefined where it is already. */
  over(stream: KeyStream): Promise<void> | undefined {
    return this.#openings.get(stream)?.over.promise;
  }

  async #offerUntilJoined(stream: KeyStream, opening: Opening): Promise<void> {
    const { wish } = opening;
    const { now } = this.#services;
    const deadline = now() + wish.timeoutMs;
    let agreed = false;
    const isOpen = () => agreed && (wish.presence === 'node' || stream.peer === 'joined');
    let lastFailure: KeyweaveError | undefined;
    for (;;) {
      const left = deadline - now();
      if (left <= 0) throw neverJoined(lastFailure);
      const joined = new Promise<void>((resolve) => {
        opening.joined = resolve;
      });
      let pause = OFFER_REFRESH_MS;
      try {
        const response = await this.#offer(stream, wish, Math.min(left, STEP_TIMEOUT_MS.rendezvous));
        if (standInSlot(stream.terms) !== 0) assertStandInAllowed(stream, response);
        stream.qos = agreedQos(wish.qos, response.qos);
        stream.allowDegraded = this.#factory.mayDegrade(stream.peerNode) && response.allowDegraded;
        agreed = true;
        lastFailure = undefined;
        if (response.joined) this.joinedByPeer(stream);
      } catch (thrown) {
        lastFailure = KeyweaveError.from(thrown);
        if (!isReason(lastFailure, 'PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN'))
          throw lastFailure;
        pause = RETRY_DELAY_MS;
      }
      if (!isOpen()) await waitFor(joined, Math.min(pause, Math.max(1, deadline - now())), wish.signal);
      if (stream.ended)
        throw new KeyweaveError('UNKNOWN_STREAM', 'the stream was closed while it was being opened');
      if (wish.signal.aborted) throw new KeyweaveError('TIMEOUT', 'the application has gone away');
      // Closing the stream or losing the application cannot be undone by the peer, so only its absence is waited for.
      if (isOpen()) {
        stream.local = 'joined';
        if (stream.peer !== 'joined') this.#keepOffering(stream, wish);
        return;
      }
    }
  }

  /** The same words each time: the other end refuses a repeated offer that differs. */
  #offer(stream: KeyStream, wish: InitiatorWish, timeoutMs: number): Promise<OpenResponse> {
    return this.#services.peer(stream.peerNode).open(
      {
        protocolVersion: PROTOCOL_VERSION,
        keyStreamId: stream.idBytes,
        incarnation: stream.incarnation,
        source: stream.terms.source,
        destination: stream.terms.destination,
        method: stream.terms.method.name,
        slots: [...stream.terms.slots],
        qos: wish.qos,
        predefined: wish.predefined,
        allowDegraded: this.#factory.mayDegrade(stream.peerNode),
        softwareVersion: VERSION,
      },
      timeoutMs,
    );
  }

  /** A stream that needs no peer application is offered on until that application comes; what was agreed stays. */
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

  #withdraw(stream: KeyStream): void {
    this.#registry.remove(stream);
    stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the stream was never opened'));
    this.#services
      .peer(stream.peerNode)
      .close(
        { keyStreamId: stream.idBytes, incarnation: stream.incarnation, reason: 'withdrawn' },
        STEP_TIMEOUT_MS.close,
      )
      .catch(() => undefined);
  }
}

function neverJoined(lastFailure: KeyweaveError | undefined): KeyweaveError {
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

/** The stand-in is a source of the stream: without the other end's consent there is no stream. */
function assertStandInAllowed(stream: KeyStream, { allowDegraded }: OpenResponse): void {
  if (allowDegraded) return;
  throw new KeyweaveError('UNSUPPORTED', `node ${stream.peerNode} lets no shared_seed stand in for a source`);
}
