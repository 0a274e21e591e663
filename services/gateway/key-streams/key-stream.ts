import { setTimeout } from 'node:timers/promises';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Qos } from '#gen/keyweave/v1/key_agreement.ts';
import { abandonedError, type Chunk, ChunkBuffer } from './chunk-buffer.ts';
import { DeliveryRate } from './delivery-rate.ts';
import { PrefetchDepth } from './prefetch-depth.ts';
import type { StreamTerms } from './stream-terms.ts';

/** The node of the source URI is the initiator and drives production. */
export type StreamRole = 'initiator' | 'responder';

/** Where an application stands with a stream. */
export type Presence = 'absent' | 'waiting' | 'joined' | 'closed';

/** Makes chunks come: the initiator's producer, or the responder's way to ask for them. */
export interface ChunkSupply {
  /** Chunks on their way, not yet in the buffer. */
  readonly coming: number;
  /** Says that `count` more chunks are lacking; never throws, failures reach the waiting GET_KEYs. */
  want(count: number): void;
  /** Stops and wipes whatever is under way; safe to repeat. */
  stop(): void;
}

export interface KeyStreamOptions {
  /** UUID v4 in text form. */
  id: string;
  terms: StreamTerms;
  role: StreamRole;
  peerNode: string;
  qos: Qos;
  /** Whether the application named the KSID itself. */
  predefined: boolean;
  allowDegraded: boolean;
  maxPrefetchChunks: number;
  maxBufferedChunks: number;
  now: () => number;
}

/** One end of a key stream. Owns its confirmed chunks and wipes them when it ends. */
export class KeyStream {
  readonly id: string;
  /** The KSID's 16 bytes in network order. */
  readonly idBytes: Buffer;
  readonly terms: StreamTerms;
  readonly role: StreamRole;
  readonly peerNode: string;
  readonly predefined: boolean;
  readonly buffer = new ChunkBuffer();
  readonly depth: PrefetchDepth;
  readonly maxBufferedChunks: number;
  allowDegraded: boolean;
  local: Presence = 'absent';
  peer: Presence = 'absent';
  supply: ChunkSupply | undefined;
  /** Why the last exchange failed, for the message of a GET_KEY that times out. */
  lastFailure: KeyweaveError | undefined;
  readonly #now: () => number;
  #qos: Qos;
  #rate: DeliveryRate;
  #ended: KeyweaveError | undefined;

  constructor(options: KeyStreamOptions) {
    this.id = options.id;
    this.idBytes = Buffer.from(options.id.replaceAll('-', ''), 'hex');
    this.terms = options.terms;
    this.role = options.role;
    this.peerNode = options.peerNode;
    this.#qos = options.qos;
    this.#rate = new DeliveryRate(options.qos);
    this.predefined = options.predefined;
    this.allowDegraded = options.allowDegraded;
    this.maxBufferedChunks = options.maxBufferedChunks;
    this.depth = new PrefetchDepth(Math.min(options.maxPrefetchChunks, options.maxBufferedChunks));
    this.#now = options.now;
  }

  get qos(): Qos {
    return this.#qos;
  }

  set qos(qos: Qos) {
    const { maxBps, keyChunkSize } = this.#qos;
    this.#qos = qos;
    if (maxBps !== qos.maxBps || keyChunkSize !== qos.keyChunkSize) this.#rate = new DeliveryRate(qos);
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** Whether the URIs and KSID of an OPEN_CONNECT are those of this stream. */
  isPair(source: string, destination: string): boolean {
    return this.terms.source === source && this.terms.destination === destination;
  }

  /**
   * Takes a chunk: at once where it is there, else waiting for production up
   * to `timeoutMs`. The caller owns the chunk and wipes its key.
   *
   * @param fits says whether the caller can take the chunk, such as whether
   *   it has room for the metadata; it may throw, and then nothing is taken.
   * @param signal fires when nobody waits for it any more; a chunk that is
   *   ready at once is given without a look at it.
   * @throws KeyweaveError TIMEOUT, INSUFFICIENT_KEY, PEER_APPLICATION_ABSENT,
   *   UNKNOWN_STREAM or the failure of production.
   */
  take(
    index: number | undefined,
    timeoutMs: number,
    fits: (chunk: Chunk) => void,
    signal: AbortSignal,
  ): Chunk | Promise<Chunk> {
    if (this.#ended) throw this.#ended;
    const { delayMs, reserved } = this.#rate.reserve(this.#now(), timeoutMs);
    if (!reserved) {
      throw new KeyweaveError(
        'INSUFFICIENT_KEY',
        `max_bps ${this.#qos.maxBps} allows the next key in ${delayMs} ms, which is later than the timeout`,
      );
    }
    if (delayMs === 0) return this.#take(index, timeoutMs, fits, signal);
    return setTimeout(delayMs, undefined, { signal }).then(
      () => {
        if (this.#ended) throw this.#ended;
        return this.#take(index, timeoutMs - delayMs, fits, signal);
      },
      () => {
        this.#rate.refund();
        throw abandonedError();
      },
    );
  }

  #take(
    index: number | undefined,
    timeoutMs: number,
    fits: (chunk: Chunk) => void,
    signal: AbortSignal,
  ): Chunk | Promise<Chunk> {
    try {
      const chunk = this.#takeReserved(index, timeoutMs, fits, signal);
      if (chunk instanceof Promise) chunk.catch(() => this.#rate.refund());
      return chunk;
    } catch (error) {
      this.#rate.refund();
      throw error;
    }
  }

  #takeReserved(
    index: number | undefined,
    timeoutMs: number,
    fits: (chunk: Chunk) => void,
    signal: AbortSignal,
  ): Chunk | Promise<Chunk> {
    const ready = this.buffer.peek(index);
    this.depth.noteGet(this.#now());
    if (ready !== undefined) {
      fits(ready);
      const chunk = this.buffer.take(ready.index) as Chunk;
      this.refill();
      return chunk;
    }
    this.#assertCanGrow(index);
    const waiting = this.buffer.wait(index, timeoutMs, () => this.#timeoutDetail(), signal);
    this.refill();
    return waiting.then((chunk) => {
      try {
        fits(chunk);
      } catch (error) {
        if (this.#ended) chunk.key.wipe();
        else this.buffer.putBack(chunk);
        throw error;
      }
      return chunk;
    });
  }

  /** Asks for what demand and prefetch lack. */
  refill(): void {
    if (this.#ended || this.peer === 'closed' || this.supply === undefined) return;
    const { buffer, supply } = this;
    const there = buffer.size + supply.coming;
    // The initiator sees the same chunks go and acts first; the responder asks only where it is read faster.
    const lowWater = this.role === 'initiator' ? 0.5 : 0.25;
    let missing = this.depth.shortfall(there, buffer.waiting, this.#now(), lowWater);
    const highest = buffer.highestWanted;
    if (highest >= buffer.nextIndex) {
      missing = Math.max(missing, highest - buffer.nextIndex + 1 - supply.coming);
    }
    const room = this.maxBufferedChunks + buffer.waiting - there;
    supply.want(Math.max(0, Math.min(missing, room)));
  }

  /** Confirmed chunks, end to end. Takes ownership of `keys`. */
  release(first: number, keys: Buffer, degraded: boolean): void {
    if (this.#ended) {
      keys.fill(0);
      return;
    }
    this.lastFailure = undefined;
    this.buffer.release(first, keys, this.qos.keyChunkSize, { nowMs: this.#now(), degraded });
  }

  /** Production has failed for good this time: those who wait are told. */
  failWaiters(error: KeyweaveError): void {
    this.lastFailure = error;
    this.buffer.failWaiters(error);
  }

  /** The peer's end is gone: what is confirmed may still be read, nothing more comes. */
  peerClosed(detail: string): void {
    if (this.peer === 'closed') return;
    this.peer = 'closed';
    this.supply?.stop();
    this.buffer.failWaiters(new KeyweaveError('PEER_APPLICATION_ABSENT', detail));
  }

  /** Ends this end: stops production, fails waiters, wipes every chunk. */
  end(error: KeyweaveError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.local = 'closed';
    this.supply?.stop();
    this.buffer.failWaiters(error);
    this.buffer.wipe();
  }

  #assertCanGrow(index: number | undefined): void {
    if (this.peer === 'closed') {
      throw new KeyweaveError(
        'PEER_APPLICATION_ABSENT',
        'the other end has closed this stream and every confirmed key has been read',
      );
    }
    if (this.peer === 'absent' && this.role === 'responder') return;
    const { buffer } = this;
    if (index !== undefined && index >= buffer.nextIndex + this.maxBufferedChunks - buffer.size) {
      throw new KeyweaveError(
        'INSUFFICIENT_KEY',
        `index ${index} is beyond the window, which ends at ${buffer.nextIndex + this.maxBufferedChunks - buffer.size - 1}`,
      );
    }
  }

  #timeoutDetail(): string {
    const why = this.lastFailure ? `; last failure: ${this.lastFailure.detail}` : '';
    return `no key was confirmed by both ends in time${why}`;
  }
}
