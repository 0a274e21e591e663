import type { Random } from '#common/crypto/random.ts';
import { failureOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
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
import { STAND_IN, type StreamTerms } from '../streams/stream-terms.ts';
import { OFFER_LIMIT_MS } from './open-offers.ts';
import { agreedQos } from './qos.ts';
import type { StreamEnds } from './stream-ends.ts';
import type { StreamFactory } from './stream-factory.ts';
import type { StreamWish } from './stream-wish.ts';

/** How often a waiting initiator repeats its offer, so that a restarted peer learns of it. */
const OFFER_REFRESH_MS = 1_000;

const RETRY_DELAY_MS = 100;

const INCARNATION_BYTES = 8;

/** So long the other end is tried to be told of a refusal, for which an application waits here. */
const TELL_MS = 500;

export interface InitiatorOpeningOptions {
  readonly store: Pick<StreamStore, 'get' | 'add'>;
  readonly factory: Pick<StreamFactory, 'create' | 'mayDegrade'>;
  readonly policy: NodePolicy;
  readonly ends: Pick<StreamEnds, 'withdraw'>;
  readonly links: PeerLinks;
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Log;
}

/** An OPEN_CONNECT that waits for the other end. */
interface Opening {
  readonly wish: StreamWish;
  readonly over: PromiseWithResolvers<void>;
  /** The other end's application has come. */
  joined: () => void;
}

/** The initiator's half of opening: offers a stream to the peer until its application comes. */
export class InitiatorOpening {
  readonly #o: InitiatorOpeningOptions;
  readonly #openings = new Map<KeyStream, Opening>();

  constructor(options: InitiatorOpeningOptions) {
    this.#o = options;
  }

  /**
   * Offers the stream to the peer and waits for its application, or where the
   * wish says so for its node. Without a KSID it draws one.
   *
   * @throws KeyweaveError KSID_IN_USE, LIMIT_EXCEEDED, TIMEOUT, PEER_UNREACHABLE,
   *   or what the other end refuses it for.
   */
  async open(wish: StreamWish): Promise<KeyStream> {
    const { store, factory, ends, random } = this.#o;
    const ksid = wish.ksid ?? random.uuid();
    if (store.get(ksid)) {
      throw new KeyweaveError(
        'KSID_IN_USE',
        `key_stream_id ${shortKsid(ksid)}… is in use at this end; close it first`,
      );
    }
    const stream = factory.create({
      ...{ ksid, role: 'initiator', terms: wish.terms, qos: wish.qos },
      incarnation: random.bytes(INCARNATION_BYTES),
      predefined: wish.ksid !== undefined,
      // Until the other end has agreed.
      allowDegraded: false,
    });
    stream.awaitPeer();
    store.add(stream);
    const opening: Opening = { wish, over: Promise.withResolvers(), joined: () => undefined };
    this.#openings.set(stream, opening);
    try {
      await this.#offerUntilOpen(stream, opening);
      return stream;
    } catch (error) {
      ends.withdraw(stream);
      throw error;
    } finally {
      this.#openings.delete(stream);
      opening.over.resolve();
    }
  }

  /** The other end's application has come (KeyAgreement.Join): whether this one's still waits. */
  joinedByPeer(stream: KeyStream): boolean {
    if (stream.role !== 'initiator' || stream.ended || stream.local === 'absent') return false;
    const opening = this.#openings.get(stream);
    if (opening?.wish.signal.aborted) return false;
    stream.peerJoined();
    opening?.joined();
    // Nothing is made before both ends have agreed on the size of the chunks.
    if (stream.local === 'joined') stream.refill();
    return true;
  }

  /** When the OPEN_CONNECT of the stream is over; undefined where it is already. */
  over(stream: KeyStream): Promise<void> | undefined {
    return this.#openings.get(stream)?.over.promise;
  }

  /**
   * Tells the other end why this one does not open a stream, so that the
   * application there does not wait in vain; never rejects. A KSID that is in
   * use here says nothing to it: the stream that has it goes on.
   */
  async offerRefused(terms: StreamTerms, ksid: string | undefined, refusal: unknown): Promise<void> {
    const { store, links, random, log } = this.#o;
    if (ksid !== undefined && store.get(ksid)) return;
    const offer = offerOf(terms, {
      keyStreamId: Buffer.from((ksid ?? random.uuid()).replaceAll('-', ''), 'hex'),
      incarnation: random.bytes(INCARNATION_BYTES),
      predefined: ksid !== undefined,
      ...{ qos: undefined, allowDegraded: false, refusal: failureOf(refusal) },
    });
    await links
      .to(terms.destinationNode)
      .open(offer, TELL_MS)
      .catch((cause: unknown) => log.debug('the other end has refused, too', {}, cause));
  }

  async #offerUntilOpen(stream: KeyStream, opening: Opening): Promise<void> {
    const { wish } = opening;
    const { clock } = this.#o;
    const deadline = clock.monotonicMs() + wish.timeoutMs;
    let agreed = false;
    const isOpen = () => agreed && (wish.presence === 'node' || stream.peer === 'joined');
    let lastFailure: KeyweaveError | undefined;
    for (;;) {
      const left = deadline - clock.monotonicMs();
      if (left <= 0) throw neverJoined(lastFailure);
      const joined = new Promise<void>((resolve) => {
        opening.joined = resolve;
      });
      let pause = OFFER_REFRESH_MS;
      try {
        const response = await this.#offer(stream, wish, left);
        this.#agree(stream, wish, response);
        agreed = true;
        lastFailure = undefined;
        if (response.joined) this.joinedByPeer(stream);
      } catch (thrown) {
        lastFailure = KeyweaveError.from(thrown);
        if (!isReason(lastFailure, 'PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN'))
          throw lastFailure;
        pause = RETRY_DELAY_MS;
      }
      if (!isOpen()) {
        const ms = Math.min(pause, Math.max(1, deadline - clock.monotonicMs()));
        await waitFor(joined, ms, wish.signal, clock);
      }
      if (stream.ended)
        throw new KeyweaveError('UNKNOWN_STREAM', 'the stream was closed while it was being opened');
      if (wish.signal.aborted) throw new KeyweaveError('TIMEOUT', 'the application has gone away');
      // Closing the stream or losing the application cannot be undone by the peer, so only its absence is waited for.
      if (isOpen()) {
        stream.join(wish.owner);
        if (stream.peer !== 'joined') this.#keepOffering(stream, wish);
        return;
      }
    }
  }

  #agree(stream: KeyStream, wish: StreamWish, response: OpenResponse): void {
    const { qos, allowDegraded, mayLack = LACKS_NOTHING } = response;
    const { farNode } = stream.route;
    // The stand-in is a source of the stream: without the other end's consent there is no stream.
    if (!allowDegraded && stream.terms.slots.some(({ algorithm }) => algorithm === STAND_IN)) {
      throw new KeyweaveError('UNSUPPORTED', `node ${farNode} lets no shared_seed stand in for a source`);
    }
    const own = this.#ownPolicy(stream, wish);
    stream.agree(agreedQos(wish.qos, qos), allowDegraded && own.allowDegraded, bothLet(mayLack, own.mayLack));
  }

  /** What this end lets a chunk lack, and be made of. */
  #ownPolicy({ route: { farNode }, terms }: KeyStream, { policy: listener }: StreamWish) {
    const { factory, policy } = this.#o;
    return {
      allowDegraded: factory.mayDegrade(farNode) && policy.mayReplace(terms, farNode, listener),
      mayLack: policy.mayLack(terms, farNode, listener),
    };
  }

  /** The same words each time: the other end refuses a repeated offer that differs. */
  #offer(stream: KeyStream, wish: StreamWish, timeoutMs?: number): Promise<OpenResponse> {
    const { allowDegraded, mayLack } = this.#ownPolicy(stream, wish);
    const { idBytes, incarnation, predefined, route, terms } = stream;
    return this.#o.links.to(route.farNode).open(
      offerOf(terms, {
        ...{ keyStreamId: idBytes, incarnation, predefined, qos: wish.qos },
        ...{ allowDegraded, ...inMessage(mayLack) },
      }),
      timeoutMs,
    );
  }

  /** A stream that needs no peer application is offered on until that application comes; what was agreed stays. */
  #keepOffering(stream: KeyStream, wish: StreamWish): void {
    const offerAgain = () => {
      if (stream.ended || stream.peer !== 'absent') return;
      this.#offer(stream, wish).then(
        (response) => response.joined && this.joinedByPeer(stream),
        (cause: unknown) => this.#o.log.debug('an offer was not repeated', { ksid: stream.id }, cause),
      );
      this.#keepOffering(stream, wish);
    };
    this.#o.clock.after(OFFER_LIMIT_MS / 3, offerAgain, true);
  }
}

/** What of an offer the terms do not say. */
type OfferedBeside = Pick<
  OpenRequest,
  'keyStreamId' | 'incarnation' | 'predefined' | 'qos' | 'allowDegraded' | 'mayLack' | 'refusal'
>;

function offerOf({ source, destination, method, slots }: StreamTerms, others: OfferedBeside): OpenRequest {
  return {
    ...{ protocolVersion: PROTOCOL_VERSION, softwareVersion: VERSION },
    ...{ source, destination, method: method.name, slots: [...slots] },
    ...others,
  };
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
