import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import { HeldBytes } from '../streams/held/held-bytes.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { EndedStreams } from './ended-streams.ts';
import type { PeerQuotas } from './peer-quotas.ts';
import type { StreamStore } from './stream-store.ts';

export interface MemoryStreamStoreOptions {
  readonly maxStreams: number;
  readonly quotas: PeerQuotas;
  readonly clock: Pick<Clock, 'monotonicMs' | 'after'>;
}

interface Held<S> {
  readonly stream: S;
  readonly ttl: Timer;
}

/** The streams of the one gateway of a node, in its memory: with the process they are gone. */
export class MemoryStreamStore<S extends KeyStream = KeyStream> implements StreamStore<S> {
  readonly maxStreams: number;
  readonly quotas: PeerQuotas;
  readonly ended: EndedStreams;
  readonly #clock: Pick<Clock, 'after'>;
  readonly #held = new Map<string, Held<S>>();
  /** Streams with each next node. */
  readonly #counts = new Map<string, number>();
  readonly #bytes = new Map<string, HeldBytes>();
  #expired: (stream: S) => void = (stream) => this.remove(stream);

  constructor({ maxStreams, quotas, clock }: MemoryStreamStoreOptions) {
    this.maxStreams = maxStreams;
    this.quotas = quotas;
    this.ended = new EndedStreams(clock);
    this.#clock = clock;
  }

  get size(): number {
    return this.#held.size;
  }

  get(ksid: string): S | undefined {
    return this.#held.get(ksid)?.stream;
  }

  add(stream: S): void {
    const { nextHop } = stream.route;
    const count = this.#counts.get(nextHop) ?? 0;
    this.#assertRoom(stream.id, nextHop, count);
    const ttl = this.#clock.after(stream.qos.ttlS * 1000, () => this.#expired(stream), true);
    this.#held.set(stream.id, { stream, ttl });
    this.#counts.set(nextHop, count + 1);
  }

  remove(stream: S): void {
    const held = this.#held.get(stream.id);
    if (held?.stream !== stream) return;
    held.ttl.cancel();
    this.#held.delete(stream.id);
    const { nextHop } = stream.route;
    this.#counts.set(nextHop, (this.#counts.get(nextHop) ?? 1) - 1);
  }

  *all(): Generator<S> {
    for (const { stream } of this.#held.values()) yield stream;
  }

  heldFor(nextHop: string): HeldBytes {
    const known = this.#bytes.get(nextHop) ?? new HeldBytes(this.quotas.heldBytes);
    this.#bytes.set(nextHop, known);
    return known;
  }

  whenExpired(act: (stream: S) => void): void {
    this.#expired = act;
  }

  #assertRoom(ksid: string, nextHop: string, withPeer: number): void {
    if (this.#held.has(ksid)) {
      throw new KeyweaveError('KSID_IN_USE', `key_stream_id ${shortKsid(ksid)}… is in use`);
    }
    if (this.#held.size >= this.maxStreams) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `this node holds its limit of ${this.maxStreams} open streams (limits.max_streams)`,
      );
    }
    if (withPeer >= this.quotas.streams) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `this node holds its limit of ${this.quotas.streams} open streams with node ${nextHop} (limits.max_streams_per_peer)`,
      );
    }
  }
}
