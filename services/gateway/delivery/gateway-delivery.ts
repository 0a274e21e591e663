import type { Random } from '#common/crypto/random.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { quote } from '#common/etsi/application-uri.ts';
import type { Clock } from '#common/time/clock.ts';
import type { KemClient } from '../clients/kem-client.ts';
import type { InitiatorOpening } from '../opening/initiator-opening.ts';
import { isForAll } from '../opening/offer-terms.ts';
import { meetQos, type QosLimits, unmetQos } from '../opening/qos.ts';
import type { ResponderOpening } from '../opening/responder-opening.ts';
import type { StreamEnds } from '../opening/stream-ends.ts';
import type { StreamFactory } from '../opening/stream-factory.ts';
import type { AssertUsable } from '../opening/usable-algorithms.ts';
import { isOfListener, LISTENER_NAME, type OfferTaker } from '../opening/waiting-applications.ts';
import type { StreamStore } from '../store/stream-store.ts';
import { abandonedError, type Chunk } from '../streams/chunk-buffer.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { parseKsid } from '../streams/ksid.ts';
import type { Owner } from '../streams/owner.ts';
import type { NodePolicy } from '../streams/policy/node-policy.ts';
import type { StreamRole } from '../streams/producer.ts';
import type { RefusedRequest, StreamEvents } from '../streams/stream-events.ts';
import { farNodeOf, readStreamTerms, type StreamTerms, withEnoughSecrets } from '../streams/stream-terms.ts';
import type {
  Close,
  Delivered,
  GetKey,
  KeyDelivery,
  OpenConnect,
  Opened,
  StreamDirectory,
  StreamStatus,
} from './key-delivery.ts';
import { keyMetadata } from './key-metadata.ts';
import type { ListenerStreams } from './listener-streams.ts';
import { ownEnd } from './own-end.ts';
import { mayUse } from './ownership.ts';
import { openByKsid, urisOf } from './pairing-by-ksid.ts';
import type { TrustedNodes } from './trusted-nodes.ts';

export interface GatewayDeliveryOptions {
  /** UUID of this node. */
  readonly nodeUuid: string;
  readonly trusted: TrustedNodes;
  readonly limits: QosLimits;
  /** QKD bit/s that are left for streams to another node; 0 = not known. */
  readonly qkdLinks: { leftBps(farNode: string): number };
  readonly store: StreamStore;
  readonly initiator: Pick<InitiatorOpening, 'open' | 'offerRefused'>;
  readonly responder: Pick<ResponderOpening, 'open' | 'takers'>;
  readonly ends: Pick<StreamEnds, 'close'>;
  readonly factory: Pick<StreamFactory, 'mayDegrade'>;
  readonly policy: NodePolicy;
  readonly assertUsable: AssertUsable;
  readonly events: Pick<StreamEvents, 'refused'>;
  readonly kem: Pick<KemClient, 'unavailable'>;
  readonly random: Pick<Random, 'uuid'>;
  readonly clock: Pick<Clock, 'after' | 'monotonicMs' | 'soon'>;
}

/** The delivery from the key streams of this gateway. */
export class GatewayDelivery implements KeyDelivery, StreamDirectory, ListenerStreams {
  readonly #o: GatewayDeliveryOptions;
  /** Streams that are open at once and have keys only once the other application has come. */
  readonly #withoutPeer = new WeakSet<KeyStream>();

  constructor(options: GatewayDeliveryOptions) {
    this.#o = options;
  }

  async open(request: OpenConnect): Promise<Opened> {
    try {
      const stream = await (request.peer === undefined
        ? this.#open(request)
        : this.#openByKsid(request, request.peer));
      if (request.byListener) stream.depth.keepReady(request.byListener.readyKeys);
      // The answer goes first: making keys takes the cores from it.
      if (!this.#isPeerMissing(stream)) this.#o.clock.soon(() => stream.refill());
      return { ksid: stream.id, qos: stream.qos, adjusted: unmetQos(request.qos, stream.qos) };
    } catch (thrown) {
      throw this.#refused('open', request, thrown);
    }
  }

  getKey(request: GetKey): Delivered | Promise<Delivered> {
    const { index, more, metadata: wanted, signal, waitedMs = 0 } = request;
    try {
      const stream = this.#streamOf(request.ksid, request.owner);
      if (this.#isPeerMissing(stream)) {
        throw new KeyweaveError(
          'PEER_APPLICATION_ABSENT',
          'the peer application has not opened the stream yet',
        );
      }
      const timeoutMs = Math.max(0, stream.qos.timeoutMs - waitedMs);
      let isReady = true;
      let metadata = '';
      const fits = (chunk: Chunk) => {
        // One that was waited for stays where it is once there is nobody to take it.
        if (!isReady && signal.aborted) throw abandonedError();
        metadata = keyMetadata(chunk, stream, wanted);
      };
      const delivered = ({ index, key }: Chunk): Delivered => ({ index, key, metadata });
      const chunk = stream.take(index, timeoutMs, fits, signal, more);
      if (!(chunk instanceof Promise)) return delivered(chunk);
      isReady = false;
      return chunk.then(delivered, (thrown: unknown) => {
        throw this.#refused('getKey', request, thrown);
      });
    } catch (thrown) {
      throw this.#refused('getKey', request, thrown);
    }
  }

  close(request: Close): void {
    try {
      void this.#o.ends.close(this.#streamOf(request.ksid, request.owner), 'the application has closed it');
    } catch (thrown) {
      throw this.#refused('close', request, thrown);
    }
  }

  takeOffers(taker: OfferTaker): () => void {
    return this.#o.responder.takers.add(taker);
  }

  wipeOlder(request: Close, ageMs: number): void {
    const stream = this.#streamOf(request.ksid, request.owner);
    stream.buffer.wipeBefore(this.#o.clock.monotonicMs() - ageMs);
    if (stream.role === 'initiator') stream.refill();
    else stream.countHeld();
  }

  refused(owner: Owner, error: KeyweaveError): void {
    this.#o.events.refused({ call: 'getKey', owner, error });
  }

  status(request: Close): StreamStatus {
    return statusOf(this.#streamOf(request.ksid, request.owner));
  }

  streamsOf(owner: Owner): StreamStatus[] {
    const own = [...this.#o.store.all()].filter(
      (stream) => stream.local === 'joined' && mayUse(stream.owner, owner),
    );
    return own.map(statusOf).sort((one, other) => (one.ksid < other.ksid ? -1 : 1));
  }

  unavailableKems(): Promise<ReadonlyMap<string, string>> {
    return this.#o.kem.unavailable();
  }

  /** Closes every stream; resolves when all peers have been told, or could not be. */
  async closeAll(reason: string): Promise<void> {
    const { store, ends } = this.#o;
    await Promise.all([...store.all()].map((stream) => ends.close(stream, reason)));
  }

  async #open(request: OpenConnect): Promise<KeyStream> {
    const { initiator, responder, policy } = this.#o;
    const { source, destination, presence, owner, signal, byListener } = request;
    for (const uri of [source, destination]) {
      if (isOfListener(uri) !== (byListener !== undefined)) throw barred(uri);
    }
    const said = readStreamTerms(source, destination, request.defaults);
    const role = this.#roleOf(said);
    const ksid = request.ksid === undefined ? undefined : parseKsid(request.ksid);
    const terms = await this.#usable(said, role, { ksid, isOfApplication: byListener === undefined });
    policy.assertFloorOf(request.policy, terms);
    const qos = meetQos(request.qos, terms, this.#limitsOf(role, terms));
    const judge = (offer: KeyStream) => {
      policy.assertFloorOf(request.policy, offer.terms);
      policy.narrow(offer, request.policy);
    };
    const wish = {
      ...{ terms, qos, ksid, presence, owner, signal, timeoutMs: qos.timeoutMs },
      ...{ policy: request.policy, judge },
    };
    if (role === 'responder') return responder.open(wish);
    if (!request.atOnce) return initiator.open(wish);
    const stream = await initiator.open({ ...wish, presence: 'node' });
    if (presence === 'app') this.#withoutPeer.add(stream);
    return stream;
  }

  /** A stream whose applications' URIs say nothing to both nodes. */
  #openByKsid(request: OpenConnect, peer: string): Promise<KeyStream> {
    const { nodeUuid, store, random, clock } = this.#o;
    const ksid = (request.ksid === undefined ? undefined : parseKsid(request.ksid)) ?? random.uuid();
    return openByKsid({
      ...{ nodeUuid, peer, ksid, clock, signal: request.signal },
      held: () => store.get(ksid),
      open: (role) => {
        const uris = role === 'initiator' ? urisOf(ksid, nodeUuid, peer) : urisOf(ksid, peer, nodeUuid);
        return this.#open({ ...request, ...uris, ksid });
      },
    });
  }

  #isPeerMissing(stream: KeyStream): boolean {
    return stream.peer === 'absent' && this.#withoutPeer.has(stream);
  }

  /** What the initiator's link has left is known at its end; the responder promises what its own file says. */
  #limitsOf(role: StreamRole, { destinationNode }: StreamTerms): QosLimits {
    const { limits, qkdLinks } = this.#o;
    if (role === 'responder') return limits;
    return { ...limits, qkd: { key_rate_bps: qkdLinks.leftBps(destinationNode) } };
  }

  /**
   * What the URIs say, provided that this node does such streams. What it does
   * not, the application that waits at the other end is told, too, since nobody
   * can offer it; what one listener refuses another's application may still have.
   */
  async #usable(
    said: StreamTerms,
    role: StreamRole,
    { ksid, isOfApplication }: { ksid: string | undefined; isOfApplication: boolean },
  ): Promise<StreamTerms> {
    const { nodeUuid, initiator, factory, policy, assertUsable } = this.#o;
    const farNode = farNodeOf(said, role);
    const mayDegrade = factory.mayDegrade(farNode);
    try {
      policy.assertFloor(said, farNode);
      const terms = withEnoughSecrets(said, mayDegrade ? { mayDegrade } : { mayDegrade, barredBy: nodeUuid });
      await assertUsable(terms);
      return terms;
    } catch (refusal) {
      const isTold = role === 'initiator' && isOfApplication && isForAll(refusal);
      if (isTold) await initiator.offerRefused(said, ksid, refusal);
      throw refusal;
    }
  }

  /** The caller's stream of this KSID; what is another's is answered as what is nobody's. */
  #streamOf(text: string, caller: Owner): KeyStream {
    const { store } = this.#o;
    const ksid = parseKsid(text);
    const stream = ksid === undefined ? undefined : store.get(ksid);
    if (stream?.local === 'joined' && mayUse(stream.owner, caller)) return stream;
    const why = ksid === undefined ? undefined : store.ended.whyOf(ksid, (owner) => mayUse(owner, caller));
    throw (
      why ?? new KeyweaveError('UNKNOWN_STREAM', 'No interface selected. OPEN_CONNECT must be called first.')
    );
  }

  #roleOf({ sourceNode, destinationNode }: StreamTerms): StreamRole {
    const { nodeUuid, trusted } = this.#o;
    const isSource = ownEnd({ sourceNode, destinationNode }, nodeUuid) === 'source';
    const farNode = isSource ? destinationNode : sourceNode;
    if (!trusted.has(farNode)) {
      throw new KeyweaveError('NO_ROUTE', `node ${farNode} is not among this node's trusted peers`);
    }
    return isSource ? 'initiator' : 'responder';
  }

  /** Whoever listens learns of what is refused; that an application has gone is nobody's refusal. */
  #refused(
    call: RefusedRequest['call'],
    request: { owner: Owner; signal?: AbortSignal },
    thrown: unknown,
  ): unknown {
    if (request.signal?.aborted !== true) {
      this.#o.events.refused({ call, owner: request.owner, error: KeyweaveError.from(thrown) });
    }
    return thrown;
  }
}

function statusOf({ id, terms, route, peer, qos, buffer }: KeyStream): StreamStatus {
  return {
    ksid: id,
    source: terms.source,
    destination: terms.destination,
    peer: route.farNode,
    peerApplication: peer === 'joined' || peer === 'closed' ? peer : 'absent',
    method: terms.method.name,
    sources: terms.slots.map(({ algorithm }) => algorithm),
    qos,
    readyKeys: buffer.size,
  };
}

/** Names of listeners are for listeners, and they have no others. */
function barred(uri: string): KeyweaveError {
  const detail = `${quote(uri)}: names that begin with ${LISTENER_NAME} are those of the node's own listeners`;
  return new KeyweaveError('NO_ROUTE', detail);
}
