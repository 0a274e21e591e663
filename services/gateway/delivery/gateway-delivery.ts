import { randomUUID } from 'node:crypto';
import type { NodeConfig } from '#common/config/node-config.ts';
import type { TrustedPeers } from '#common/config/trusted-peers.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { NodeServices } from '../clients/node-services.ts';
import { STEP_TIMEOUT_MS } from '../clients/node-services.ts';
import { meetQos, unmetQos } from '../opening/qos.ts';
import { offerRefused } from '../opening/refused-offers.ts';
import type { Rendezvous } from '../opening/rendezvous.ts';
import type { MemoryStreamStore } from '../store/memory-stream-store.ts';
import type { Chunk } from '../streams/chunk-buffer.ts';
import type { KeyStream, StreamRole } from '../streams/key-stream.ts';
import { parseKsid } from '../streams/ksid.ts';
import { readStreamTerms, type StreamTerms, withEnoughSecrets } from '../streams/stream-terms.ts';

/** An application's OPEN_CONNECT, whatever protocol it came by. */
export interface OpenConnect {
  readonly source: string;
  readonly destination: string;
  readonly qos: Qos;
  /** Absent or nil: this node makes one, or joins the peer's. */
  readonly keyStreamId?: string | undefined;
  /** app: wait for the peer's application; node: the peer's node is enough. */
  readonly presence: 'app' | 'node';
  /** Fires when the application has gone away. */
  readonly signal: AbortSignal;
}

/** An application's GET_KEY, whatever protocol it came by. */
export interface GetKey {
  readonly keyStreamId: string;
  /** Absent: the next unread chunk. */
  readonly index: number | undefined;
  /** Fires when nobody waits for the key any more. */
  readonly signal: AbortSignal;
  /** How much of the stream's timeout has gone by already. */
  readonly waitedMs?: number;
}

export interface Opened {
  readonly keyStreamId: string;
  readonly qos: Qos;
  /** What of the asked QoS was adjusted, in words; the stream is open all the same (status 7). */
  readonly adjusted: string | undefined;
}

export interface KeyDeliveryOptions {
  config: NodeConfig;
  peers: TrustedPeers;
  services: NodeServices;
  registry: MemoryStreamStore;
  rendezvous: Rendezvous;
  /** Refuses, in words, slots that no engine of this node can do. */
  assertUsable(terms: StreamTerms): Promise<void>;
}

/**
 * The three calls of ETSI GS QKD 004 V2.1.1 clause 6.1, free of any protocol:
 * listeners decode, call this, encode.
 */
export class KeyDelivery {
  readonly #o: KeyDeliveryOptions;

  constructor(options: KeyDeliveryOptions) {
    this.#o = options;
  }

  /**
   * OPEN_CONNECT. Resolves when both ends are there (or the peer's node, where
   * the listener says so).
   *
   * @throws KeyweaveError NO_ROUTE, UNSUPPORTED, KSID_IN_USE, TIMEOUT,
   *   PEER_UNREACHABLE, REVISION_MISMATCH, LIMIT_EXCEEDED.
   */
  async open(request: OpenConnect): Promise<Opened> {
    const { config, rendezvous } = this.#o;
    const json = config.listeners.json;
    const said = readStreamTerms(request.source, request.destination, {
      method: json.default_method,
      keySources: json.default_key_sources,
    });
    const role = this.#roleOf(said);
    const ksid = request.keyStreamId === undefined ? undefined : parseKsid(request.keyStreamId);
    const terms = await this.#withEnoughSecrets(said, role, ksid);
    await this.#o.assertUsable(terms);
    const qos = meetQos(request.qos, terms, config);
    const wish = {
      terms,
      qos,
      ksid,
      presence: request.presence,
      timeoutMs: qos.timeoutMs,
      signal: request.signal,
    };
    const stream =
      role === 'initiator'
        ? await rendezvous.openAsInitiator({
            ...wish,
            ksid: ksid ?? randomUUID(),
            predefined: ksid !== undefined,
          })
        : await rendezvous.openAsResponder(wish);
    stream.refill();
    return {
      keyStreamId: stream.id,
      qos: stream.qos,
      adjusted: unmetQos(request.qos, stream.qos),
    };
  }

  /**
   * GET_KEY: at once where the chunk is ready. The caller owns the chunk and
   * wipes its key. Throws, or rejects, with a KeyweaveError.
   *
   * @param fits see KeyStream.take.
   */
  getKey(request: GetKey, fits: (chunk: Chunk, stream: KeyStream) => void): Chunk | Promise<Chunk> {
    const { index, signal, waitedMs = 0 } = request;
    const stream = this.#local(request.keyStreamId);
    const timeoutMs = Math.max(0, stream.qos.timeoutMs - waitedMs);
    return stream.take(index, timeoutMs, (chunk) => fits(chunk, stream), signal);
  }

  /** CLOSE. Wipes this end at once; the peer is told, and keeps what it holds until it closes too. */
  close(ksid: string): void {
    void this.closeStream(this.#local(ksid), 'the application has closed it');
  }

  /** Ends a stream at this end at once; resolves when the peer has been told, or could not be. */
  async closeStream(stream: KeyStream, reason: string): Promise<void> {
    const { registry, services } = this.#o;
    registry.remove(stream);
    registry.ended.note(stream);
    stream.end(new KeyweaveError('UNKNOWN_STREAM', `this stream has ended: ${reason}`));
    if (stream.peer === 'closed') return;
    await services
      .peer(stream.peerNode)
      .close({ keyStreamId: stream.idBytes, incarnation: stream.incarnation, reason }, STEP_TIMEOUT_MS.close)
      .catch((cause: unknown) => {
        services.log.warning('the peer could not be told of a CLOSE', { ksid: stream.id }, cause);
      });
  }

  /** Refuses a method of too few sources here, and where this end would offer it, at the other end, too. */
  async #withEnoughSecrets(
    said: StreamTerms,
    role: StreamRole,
    ksid: string | undefined,
  ): Promise<StreamTerms> {
    const { config, rendezvous, services } = this.#o;
    const mayStandIn = rendezvous.mayDegrade(role === 'initiator' ? said.destinationNode : said.sourceNode);
    try {
      return withEnoughSecrets(said, mayStandIn ? { mayStandIn } : { mayStandIn, barredBy: config.uuid });
    } catch (refusal) {
      if (role === 'initiator') await offerRefused(services, said, ksid);
      throw refusal;
    }
  }

  #local(text: string): KeyStream {
    const ksid = parseKsid(text);
    const stream = ksid === undefined ? undefined : this.#o.registry.get(ksid);
    if (stream?.local !== 'joined') {
      const why = ksid === undefined ? undefined : this.#o.registry.ended.whyOf(ksid);
      if (why) throw why;
      throw new KeyweaveError('UNKNOWN_STREAM', 'No interface selected. OPEN_CONNECT must be called first.');
    }
    return stream;
  }

  #roleOf(terms: StreamTerms): StreamRole {
    const { config, peers } = this.#o;
    const isSource = terms.sourceNode === config.uuid;
    if (!isSource && terms.destinationNode !== config.uuid) {
      throw new KeyweaveError(
        'NO_ROUTE',
        `neither source nor destination names this node, which is ${config.uuid}`,
      );
    }
    const peer = isSource ? terms.destinationNode : terms.sourceNode;
    if (peers[peer] === undefined) {
      throw new KeyweaveError('NO_ROUTE', `node ${peer} is not among this node's trusted peers`);
    }
    return isSource ? 'initiator' : 'responder';
  }
}
