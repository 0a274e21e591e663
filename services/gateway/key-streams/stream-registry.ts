import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { afterMs, type LongTimer } from '#common/time/long-timer.ts';
import type { KeyStream } from './key-stream.ts';
import type { ResponderExchange } from './responder-exchange.ts';

/** A day: what a QoS ttl of 0 means, so that a forgotten stream does not live for ever. */
const DEFAULT_TTL_S = 86_400;

/** Every stream of this gateway, by KSID. Streams leave it by CLOSE or when their TTL runs out. */
export class StreamRegistry {
  readonly #streams = new Map<string, { stream: KeyStream; ttl: LongTimer }>();
  readonly #exchanges = new WeakMap<KeyStream, ResponderExchange>();
  readonly #maxStreams: number;
  readonly #onExpiry: (stream: KeyStream) => void;

  constructor(options: { maxStreams: number; onExpiry: (stream: KeyStream) => void }) {
    this.#maxStreams = options.maxStreams;
    this.#onExpiry = options.onExpiry;
  }

  get size(): number {
    return this.#streams.size;
  }

  get(ksid: string): KeyStream | undefined {
    return this.#streams.get(ksid)?.stream;
  }

  /** @throws KeyweaveError LIMIT_EXCEEDED, KSID_IN_USE */
  add(stream: KeyStream, exchange?: ResponderExchange): void {
    if (this.#streams.has(stream.id)) {
      throw new KeyweaveError('KSID_IN_USE', `key_stream_id ${stream.id} is in use`);
    }
    if (this.#streams.size >= this.#maxStreams) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `this node holds its limit of ${this.#maxStreams} open streams`,
      );
    }
    const seconds = stream.qos.ttlS === 0 ? DEFAULT_TTL_S : stream.qos.ttlS;
    const ttl = afterMs(seconds * 1000, () => this.#onExpiry(stream));
    this.#streams.set(stream.id, { stream, ttl });
    if (exchange) this.#exchanges.set(stream, exchange);
  }

  /** The responder's half of a stream's production. */
  exchangeOf(stream: KeyStream): ResponderExchange | undefined {
    return this.#exchanges.get(stream);
  }

  remove(stream: KeyStream): void {
    const entry = this.#streams.get(stream.id);
    if (entry?.stream !== stream) return;
    entry.ttl.cancel();
    this.#streams.delete(stream.id);
    this.#exchanges.get(stream)?.stop();
  }

  *all(): Generator<KeyStream> {
    for (const { stream } of this.#streams.values()) yield stream;
  }
}
