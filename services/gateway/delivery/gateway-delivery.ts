import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { InitiatorOpening } from '../opening/initiator-opening.ts';
import { meetQos, type QosLimits, unmetQos } from '../opening/qos.ts';
import type { ResponderOpening } from '../opening/responder-opening.ts';
import type { StreamEnds } from '../opening/stream-ends.ts';
import type { StreamFactory } from '../opening/stream-factory.ts';
import type { AssertUsable } from '../opening/usable-algorithms.ts';
import type { StreamStore } from '../store/stream-store.ts';
import { abandonedError, type Chunk } from '../streams/chunk-buffer.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { parseKsid } from '../streams/ksid.ts';
import type { Owner } from '../streams/owner.ts';
import type { StreamRole } from '../streams/producer.ts';
import type { RefusedRequest, StreamEvents } from '../streams/stream-events.ts';
import { readStreamTerms, type StreamTerms, withEnoughSecrets } from '../streams/stream-terms.ts';
import type { Close, Delivered, GetKey, KeyDelivery, OpenConnect, Opened } from './key-delivery.ts';
import { keyMetadata } from './key-metadata.ts';
import { mayUse } from './ownership.ts';
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
  readonly responder: Pick<ResponderOpening, 'open'>;
  readonly ends: Pick<StreamEnds, 'close'>;
  readonly policy: Pick<StreamFactory, 'mayDegrade'>;
  readonly assertUsable: AssertUsable;
  readonly events: Pick<StreamEvents, 'refused'>;
}

/** KeyDelivery from the key streams of this gateway. */
export class GatewayDelivery implements KeyDelivery {
  readonly #o: GatewayDeliveryOptions;

  constructor(options: GatewayDeliveryOptions) {
    this.#o = options;
  }

  async open(request: OpenConnect): Promise<Opened> {
    try {
      const stream = await this.#open(request);
      stream.refill();
      return { ksid: stream.id, qos: stream.qos, adjusted: unmetQos(request.qos, stream.qos) };
    } catch (thrown) {
      throw this.#refused('open', request, thrown);
    }
  }

  getKey(request: GetKey): Delivered | Promise<Delivered> {
    const { index, metadata: wanted, signal, waitedMs = 0 } = request;
    try {
      const stream = this.#streamOf(request.ksid, request.owner);
      const timeoutMs = Math.max(0, stream.qos.timeoutMs - waitedMs);
      let isReady = true;
      let metadata = '';
      const fits = (chunk: Chunk) => {
        // One that was waited for stays where it is once there is nobody to take it.
        if (!isReady && signal.aborted) throw abandonedError();
        metadata = keyMetadata(chunk, stream, wanted);
      };
      const delivered = ({ index, key }: Chunk): Delivered => ({ index, key, metadata });
      const chunk = stream.take(index, timeoutMs, fits, signal);
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

  /** Closes every stream; resolves when all peers have been told, or could not be. */
  async closeAll(reason: string): Promise<void> {
    const { store, ends } = this.#o;
    await Promise.all([...store.all()].map((stream) => ends.close(stream, reason)));
  }

  async #open(request: OpenConnect): Promise<KeyStream> {
    const { initiator, responder, assertUsable } = this.#o;
    const { source, destination, presence, owner, signal } = request;
    const said = readStreamTerms(source, destination, request.defaults);
    const role = this.#roleOf(said);
    const ksid = request.ksid === undefined ? undefined : parseKsid(request.ksid);
    const terms = await this.#withEnoughSecrets(said, role, ksid);
    await assertUsable(terms);
    const qos = meetQos(request.qos, terms, this.#limitsOf(role, terms));
    const wish = { terms, qos, ksid, presence, owner, signal, timeoutMs: qos.timeoutMs };
    return role === 'initiator' ? initiator.open(wish) : responder.open(wish);
  }

  /** What the initiator's link has left is known at its end; the responder promises what its own file says. */
  #limitsOf(role: StreamRole, { destinationNode }: StreamTerms): QosLimits {
    const { limits, qkdLinks } = this.#o;
    if (role === 'responder') return limits;
    return { ...limits, qkd: { key_rate_bps: qkdLinks.leftBps(destinationNode) } };
  }

  /** Refuses a method of too few sources here, and where this end would offer it, at the other end, too. */
  async #withEnoughSecrets(
    said: StreamTerms,
    role: StreamRole,
    ksid: string | undefined,
  ): Promise<StreamTerms> {
    const { nodeUuid, initiator, policy } = this.#o;
    const mayDegrade = policy.mayDegrade(role === 'initiator' ? said.destinationNode : said.sourceNode);
    try {
      return withEnoughSecrets(said, mayDegrade ? { mayDegrade } : { mayDegrade, barredBy: nodeUuid });
    } catch (refusal) {
      if (role === 'initiator') await initiator.offerRefused(said, ksid);
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
    const isSource = sourceNode === nodeUuid;
    if (!isSource && destinationNode !== nodeUuid) {
      throw new KeyweaveError(
        'NO_ROUTE',
        `neither source nor destination names this node, which is ${nodeUuid}`,
      );
    }
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
