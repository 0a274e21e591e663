import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import { systemClock } from '#common/time/clock.ts';
import { afterMs, type LongTimer } from '#common/time/long-timer.ts';
import type { HeldBatches } from '../production/responder/held-batches.ts';
import { HeldBytes } from '../streams/held-bytes.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { EndedStreams } from './ended-streams.ts';
import type { PeerQuotas } from './peer-quotas.ts';

/** A day: what a QoS ttl of 0 means, so that a forgotten stream does not live for ever. */
const DEFAULT_TTL_S = 86_400;

/** What a single peer may take where nothing else is said: everything. */
const WHOLE: PeerQuotas = {
  streams: Number.POSITIVE_INFINITY,
  offers: Number.POSITIVE_INFINITY,
  heldBytes: Number.POSITIVE_INFINITY,
};

export interface MemoryStreamStoreOptions {
  maxStreams: number;
  /** Absent where there is a single peer, which may take everything. */
  quotas?: PeerQuotas;
  onExpiry: (stream: KeyStream) => void;
  /** A monotonic clock, milliseconds. */
  now?: () => number;
}

/** Every stream of this gateway, by KSID. Streams leave it by CLOSE or when their TTL runs out. */
export class MemoryStreamStore {
  readonly maxStreams: number;
  readonly quotas: PeerQuotas;
  /** Those that have left it a while ago. */
  readonly ended: EndedStreams;
  readonly #streams = new Map<string, { stream: KeyStream; ttl: LongTimer }>();
  readonly #exchanges = new WeakMap<KeyStream, HeldBatches>();
  readonly #countByPeer = new Map<string, number>();
  readonly #heldByPeer = new Map<string, HeldBytes>();
  readonly #onExpiry: (stream: KeyStream) => void;

  constructor(options: MemoryStreamStoreOptions) {
    this.maxStreams = options.maxStreams;
    this.quotas = options.quotas ?? WHOLE;
    this.ended = new EndedStreams(options.now ?? systemClock.monotonicMs);
    this.#onExpiry = options.onExpiry;
  }

  get size(): number {
    return this.#streams.size;
  }

  get(ksid: string): KeyStream | undefined {
    return this.#streams.get(ksid)?.stream;
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED, KSID_IN_USE */
  add(stream: KeyStream, exchange?: HeldBatches): void {
    const { peerNode } = stream;
    if (this.#streams.has(stream.id)) {
      throw new KeyweaveError('KSID_IN_USE', `key_stream_id ${shortKsid(stream.id)}… is in use`);
    }
    if (this.#streams.size >= this.maxStreams) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `this node holds its limit of ${this.maxStreams} open streams (limits.max_streams)`,
      );
    }
    const withPeer = this.#countByPeer.get(peerNode) ?? 0;
    if (withPeer >= this.quotas.streams) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `this node holds its limit of ${this.quotas.streams} open streams with node ${peerNode} (limits.max_streams_per_peer)`,
      );
    }
    const seconds = stream.qos.ttlS === 0 ? DEFAULT_TTL_S : stream.qos.ttlS;
    const ttl = afterMs(seconds * 1000, () => this.#onExpiry(stream));
    this.#streams.set(stream.id, { stream, ttl });
    this.#countByPeer.set(peerNode, withPeer + 1);
    if (exchange) this.#exchanges.set(stream, exchange);
  }

  /** The responder's half of a stream's production. */
  exchangeOf(stream: KeyStream): HeldBatches | undefined {
    return this.#exchanges.get(stream);
  }

  /** The bytes of key that are held for a peer. */
  heldFor(peerNode: string): HeldBytes {
    const known = this.#heldByPeer.get(peerNode) ?? new HeldBytes(this.quotas.heldBytes);
    this.#heldByPeer.set(peerNode, known);
    return known;
  }

  remove(stream: KeyStream): void {
    const entry = this.#streams.get(stream.id);
    if (entry?.stream !== stream) return;
    entry.ttl.cancel();
    this.#streams.delete(stream.id);
    this.#countByPeer.set(stream.peerNode, (this.#countByPeer.get(stream.peerNode) ?? 1) - 1);
    this.#exchanges.get(stream)?.stop();
  }

  *all(): Generator<KeyStream> {
    for (const { stream } of this.#streams.values()) yield stream;
  }
}
