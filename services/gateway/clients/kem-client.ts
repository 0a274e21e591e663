import type { ServiceClient } from '#common/grpc/client.ts';
import type { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { KemSession, type KeyPairBatch } from './kem-session.ts';

/** Key pairs whose private halves live in pqc-source. */
export type KeyPairs = Pick<KemSession, 'generate' | 'decapsulate' | 'discard' | 'close'>;

/** Streams that are open at a time: as many replicas of pqc-source can work for one gateway. */
const STREAMS = 4;

/** After this a stream gets no new batches, so that replicas that joined meanwhile get theirs. */
const MAX_AGE_MS = 60_000;

interface Stream {
  readonly session: KemSession;
  readonly openedMs: number;
  /** Batches whose private keys it holds or is making. */
  held: number;
  retired: boolean;
}

/**
 * Spreads key pairs over the replicas of pqc-source: several streams, each
 * pinned to the replica that the channel chose for it, since private keys
 * never leave the process that made them. What one replica takes along when it
 * dies are the batches of its streams.
 */
export class KemClient implements KeyPairs {
  readonly #open: () => KemSession;
  readonly #now: () => number;
  readonly #streams: Stream[] = [];
  readonly #retired = new Set<Stream>();
  readonly #owners = new WeakMap<KeyPairBatch, Stream>();
  #turn = 0;

  constructor(
    client: ServiceClient<PqcSourceDefinition>,
    /** Milliseconds of a monotonic clock. */
    now: () => number,
    open: () => KemSession = () => new KemSession(client),
  ) {
    this.#open = open;
    this.#now = now;
  }

  async generate(algorithm: string, count: number, timeoutMs: number): Promise<KeyPairBatch> {
    const stream = this.#next();
    stream.held += 1;
    try {
      const batch = await stream.session.generate(algorithm, count, timeoutMs);
      this.#owners.set(batch, stream);
      return batch;
    } catch (error) {
      this.#release(stream);
      throw error;
    }
  }

  async decapsulate(batch: KeyPairBatch, ciphertexts: Buffer, timeoutMs: number): Promise<Buffer> {
    const stream = this.#take(batch);
    try {
      return await stream.session.decapsulate(batch, ciphertexts, timeoutMs);
    } finally {
      this.#release(stream);
    }
  }

  /** Does nothing for a batch that has been used or discarded. */
  discard(batch: KeyPairBatch): void {
    if (!this.#owners.has(batch)) return;
    const stream = this.#take(batch);
    stream.session.discard(batch);
    this.#release(stream);
  }

  close(): void {
    for (const { session } of [...this.#streams, ...this.#retired]) session.close();
  }

  #next(): Stream {
    const at = this.#turn++ % STREAMS;
    const current = this.#streams[at];
    if (current && this.#now() - current.openedMs < MAX_AGE_MS) return current;
    const fresh = { session: this.#open(), openedMs: this.#now(), held: 0, retired: false };
    this.#streams[at] = fresh;
    if (current) this.#retire(current);
    return fresh;
  }

  #retire(stream: Stream): void {
    stream.retired = true;
    this.#retired.add(stream);
    this.#closeIfDone(stream);
  }

  #take(batch: KeyPairBatch): Stream {
    const stream = this.#owners.get(batch);
    if (!stream) throw new TypeError('a batch of key pairs is used once, by the streams that made it');
    this.#owners.delete(batch);
    return stream;
  }

  #release(stream: Stream): void {
    stream.held -= 1;
    this.#closeIfDone(stream);
  }

  #closeIfDone(stream: Stream): void {
    if (!stream.retired || stream.held > 0) return;
    this.#retired.delete(stream);
    stream.session.close();
  }
}
