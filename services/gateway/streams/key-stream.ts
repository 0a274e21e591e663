import { setTimeout } from 'node:timers/promises';
import { ownCopy } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { abandonedError, type Chunk, ChunkBuffer } from './chunk-buffer.ts';
import { DeliveryRate } from './delivery-rate.ts';
import type { HeldBytes } from './held-bytes.ts';
import { PrefetchDepth } from './prefetch-depth.ts';
import type { StreamTerms } from './stream-terms.ts';

/** The node of the source URI is the initiator and drives production. */
export type StreamRole = 'initiator' | 'responder';

/** Where an application stands with a stream. */
export type Presence = 'absent' | 'waiting' | 'joined' | 'closed';

/** Makes chunks come: the initiator's producer, or the responder's way to ask for them. */
export interface Producer {
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
  /** 8 random bytes of the initiator, which tell this stream from earlier ones of the same KSID. */
  incarnation: Buffer;
  terms: StreamTerms;
  role: StreamRole;
  peerNode: string;
  qos: Qos;
  /** Whether the application named the KSID itself. */
  predefined: boolean;
  allowDegraded: boolean;
  maxPrefetchChunks: number;
  maxBufferedChunks: number;
  /** Bytes of those chunks; absent = no limit but their number. */
  maxBufferedBytes?: number;
  /** What all streams with the peer hold together; absent = nobody counts. */
  held?: HeldBytes;
  /** Milliseconds of a monotonic clock. */
  now: () => number;
}

/** One end of a key stream. Owns its confirmed chunks and wipes them when it ends. */
export class KeyStream {
  readonly id: string;
  /** The KSID's 16 bytes in network order. */
  readonly idBytes: Buffer;
  readonly incarnation: Buffer;
  readonly terms: StreamTerms;
  readonly role: StreamRole;
  readonly peerNode: string;
  readonly predefined: boolean;
  readonly buffer = new ChunkBuffer();
  readonly depth: PrefetchDepth;
  allowDegraded: boolean;
  local: Presence = 'absent';
  peer: Presence = 'absent';
  supply: Producer | undefined;
  /** Why the last exchange failed, for the message of a GET_KEY that times out. */
  lastFailure: KeyweaveError | undefined;
  readonly #now: () => number;
  readonly #maxChunks: number;
  readonly #maxBytes: number;
  readonly #held: HeldBytes | undefined;
  /** This stream's part of what is held for the peer. */
  #heldBytes = 0;
  #maxBufferedChunks: number;
  #qos: Qos;
  #rate: DeliveryRate;
  #ended: KeyweaveError | undefined;
  /** Ends the pauses of GET_KEYs that max_bps holds back. */
  #over: AbortController | undefined;
  /** Why the peer's end is gone, in words. */
  #peerGone = '';

  constructor(options: KeyStreamOptions) {
    this.id = options.id;
    this.idBytes = ownCopy(Buffer.from(options.id.replaceAll('-', ''), 'hex'));
    this.incarnation = ownCopy(options.incarnation);
    this.terms = options.terms;
    this.role = options.role;
    this.peerNode = options.peerNode;
    this.#qos = options.qos;
    this.#rate = new DeliveryRate(options.qos);
    this.predefined = options.predefined;
    this.allowDegraded = options.allowDegraded;
    this.#maxChunks = options.maxBufferedChunks;
    this.#maxBytes = options.maxBufferedBytes ?? Number.POSITIVE_INFINITY;
    this.#maxBufferedChunks = this.#window();
    this.#held = options.held;
    this.depth = new PrefetchDepth(Math.min(options.maxPrefetchChunks, this.#maxBufferedChunks));
    this.#now = options.now;
  }

  get qos(): Qos {
    return this.#qos;
  }

  set qos(qos: Qos) {
    const { maxBps, keyChunkSize } = this.#qos;
    this.#qos = qos;
    if (maxBps !== qos.maxBps || keyChunkSize !== qos.keyChunkSize) this.#rate = new DeliveryRate(qos);
    this.#maxBufferedChunks = this.#window();
  }

  /** Unread chunks that this end holds at most; at least one. */
  get maxBufferedChunks(): number {
    return this.#maxBufferedChunks;
  }

  /**
   * Chunks that the peer's share of this node's memory still takes. Those for
   * which somebody waits come on top, since they are gone at once.
   */
  get peerRoom(): number {
    if (!this.#held) return Number.POSITIVE_INFINITY;
    return Math.floor(this.#held.room / this.#qos.keyChunkSize) + this.buffer.waiting;
  }

  /** @throws KeyweaveError NO_ROOM where not one more chunk may be made for the peer. */
  assertPeerRoom(): void {
    if (this.peerRoom >= 1) return;
    throw new KeyweaveError(
      'NO_ROOM',
      `the other end holds its limit of ${this.#held?.limit} bytes of unread keys for node ${this.peerNode} (limits.max_held_bytes_per_peer)`,
    );
  }

  /** Brings this stream's part of what is held for the peer up to date. */
  countHeld(): void {
    const chunks = this.#ended ? 0 : this.buffer.size + (this.supply?.coming ?? 0);
    const bytes = chunks * this.#qos.keyChunkSize;
    this.#held?.change(bytes - this.#heldBytes);
    this.#heldBytes = bytes;
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
   * @throws KeyweaveError TIMEOUT, NO_ROOM, INSUFFICIENT_KEY, PEER_APPLICATION_ABSENT,
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
    this.#over ??= new AbortController();
    const either = AbortSignal.any([signal, this.#over.signal]);
    return setTimeout(delayMs, undefined, { signal: either }).then(
      () => this.#take(index, timeoutMs - delayMs, fits, signal),
      () => {
        this.#rate.refund();
        throw this.#ended ?? abandonedError();
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
    return waiting.then(
      (chunk) => {
        try {
          fits(chunk);
        } catch (error) {
          if (this.#ended) chunk.key.wipe();
          else this.buffer.putBack(chunk);
          throw error;
        }
        return chunk;
      },
      (error: unknown) => {
        throw this.#waitedForRoom(error);
      },
    );
  }

  /** Time that ran out while the other end was full: its application did not read, and no source was late. */
  #waitedForRoom(error: unknown): unknown {
    const why = this.lastFailure;
    return why !== undefined && isReason(why, 'NO_ROOM') && isReason(error, 'TIMEOUT') ? why : error;
  }

  /** Whole milliseconds since both ends had confirmed the chunk (`age` of ETSI GS QKD 004 V2.1.1, Table 3). */
  ageMs(chunk: Chunk): number {
    return Math.floor(this.#now() - chunk.availableAtMs);
  }

  /** Asks for what demand and prefetch lack. */
  refill(): void {
    this.countHeld();
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
    const room = Math.min(this.maxBufferedChunks + buffer.waiting - there, this.peerRoom);
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
    this.#peerGone = detail;
    this.supply?.stop();
    this.buffer.failWaiters(new KeyweaveError('PEER_APPLICATION_ABSENT', detail));
  }

  /** Ends this end: stops production, fails waiters, wipes every chunk. */
  end(error: KeyweaveError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.local = 'closed';
    this.supply?.stop();
    this.#over?.abort();
    this.buffer.failWaiters(error);
    this.buffer.wipe();
    this.countHeld();
  }

  #assertCanGrow(index: number | undefined): void {
    if (this.peer === 'closed') {
      throw new KeyweaveError(
        'PEER_APPLICATION_ABSENT',
        `${this.#peerGone}; every confirmed key has been read`,
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

  #window(): number {
    return Math.max(1, Math.min(this.#maxChunks, Math.floor(this.#maxBytes / this.#qos.keyChunkSize)));
  }

  #timeoutDetail(): string {
    const why = this.lastFailure ? `; last failure: ${this.lastFailure.detail}` : '';
    return `no key was confirmed by both ends in time${why}`;
  }
}
