import { ownCopy } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Clock } from '#common/time/clock.ts';
import { pause } from '#common/time/wait-for.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { abandonedError, type Chunk, ChunkBuffer, goneError } from './chunk-buffer.ts';
import { DeliveryRate } from './delivery-rate.ts';
import type { HeldBytes } from './held/held-bytes.ts';
import { IndexLedger } from './index-ledger.ts';
import type { Owner } from './owner.ts';
import { type Degraded, LACKS_NOTHING, type MayLack } from './policy/lacking.ts';
import { Leeway } from './policy/leeway.ts';
import { PrefetchDepth } from './prefetch-depth.ts';
import type { Producer, StreamRole } from './producer.ts';
import type { Route } from './route.ts';
import type { StreamEvents, StreamFacts } from './stream-events.ts';
import { isQkd, type StreamTerms } from './stream-terms.ts';

/** Says whether the caller can take a chunk; it may throw, and then nothing is taken. */
type Fits = (chunk: Chunk) => void;

type Taken = Chunk | Promise<Chunk>;
type Asked = Parameters<KeyStream['take']>;

/** Where an application stands with a stream. */
export type Presence = 'absent' | 'waiting' | 'joined' | 'closed';

export interface KeyStreamOptions<P extends Producer> {
  /** UUID v4 in text form. */
  id: string;
  /** 8 random bytes of the initiator, which tell this stream from earlier ones of the same KSID. */
  incarnation: Uint8Array;
  terms: StreamTerms;
  role: StreamRole;
  route: Route;
  qos: Qos;
  predefined: boolean;
  allowDegraded: boolean;
  mayLack?: MayLack;
  maxPrefetchChunks: number;
  maxBufferedChunks: number;
  /** Bytes of those chunks; absent = no limit but their number. */
  maxBufferedBytes?: number;
  /** What all streams with the next node hold together; absent = nobody counts. */
  held?: HeldBytes;
  clock: Clock;
  events: StreamEvents;
  producer: (stream: KeyStream<P>) => P;
}

/** One end of a key stream. Owns its confirmed chunks and wipes them when it ends. */
export class KeyStream<P extends Producer = Producer> implements StreamFacts {
  readonly id: string;
  /** The KSID's 16 bytes in network order. */
  readonly idBytes: Buffer;
  readonly incarnation: Buffer;
  readonly terms: StreamTerms;
  readonly role: StreamRole;
  readonly route: Route;
  readonly predefined: boolean;
  readonly buffer: ChunkBuffer;
  readonly indexes = new IndexLedger();
  readonly depth: PrefetchDepth;
  readonly leeway: Leeway;
  readonly producer: P;
  readonly #clock: Clock;
  readonly #events: StreamEvents;
  readonly #maxChunks: number;
  readonly #maxBytes: number;
  readonly #held: HeldBytes | undefined;
  /** This stream's part of what is held for the peer. */
  #heldBytes = 0;
  #maxBufferedChunks: number;
  #qos: Qos;
  #rate: DeliveryRate;
  #owner: Owner | undefined;
  #local: Presence = 'absent';
  #peer: Presence = 'absent';
  /** Why the last exchange failed, for the message of a GET_KEY that times out. */
  #lastFailure: KeyweaveError | undefined;
  #ended: KeyweaveError | undefined;
  /** Ends the pauses of GET_KEYs that max_bps holds back. */
  #over: AbortController | undefined;
  #peerGone = '';

  constructor(options: KeyStreamOptions<P>) {
    this.id = options.id;
    this.idBytes = ownCopy(Buffer.from(options.id.replaceAll('-', ''), 'hex'));
    this.incarnation = ownCopy(options.incarnation);
    this.terms = options.terms;
    this.role = options.role;
    this.route = options.route;
    this.predefined = options.predefined;
    this.buffer = new ChunkBuffer(options.clock);
    this.#clock = options.clock;
    this.#events = options.events;
    this.#qos = options.qos;
    this.#rate = new DeliveryRate(options.qos);
    this.leeway = new Leeway(options.allowDegraded, options.mayLack);
    this.#maxChunks = options.maxBufferedChunks;
    this.#maxBytes = options.maxBufferedBytes ?? Number.POSITIVE_INFINITY;
    this.#maxBufferedChunks = this.#window();
    this.#held = options.held;
    const mostAhead = Math.min(options.maxPrefetchChunks, this.#maxBufferedChunks);
    this.depth = new PrefetchDepth(mostAhead, (this.incarnation[0] ?? 0) / 256, this.terms.slots.some(isQkd));
    this.producer = options.producer(this);
  }

  get qos(): Qos {
    return this.#qos;
  }

  /** The application of this end that has it; undefined before one has. */
  get owner(): Owner | undefined {
    return this.#owner;
  }

  /** Where the application of this end stands. */
  get local(): Presence {
    return this.#local;
  }

  /** Where the application of the other end stands. */
  get peer(): Presence {
    return this.#peer;
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** Why the last exchange failed; undefined since chunks have come. */
  get lastFailure(): KeyweaveError | undefined {
    return this.#lastFailure;
  }

  /** Unread chunks that this end holds at most; at least one. */
  get maxBufferedChunks(): number {
    return this.#maxBufferedChunks;
  }

  /**
   * Chunks that the peer's share of this node's memory still takes. Those for
   * which somebody waits come on top, since they are gone at once: not those
   * on the way to an index farther ahead, which would stay, and none for whom
   * what is coming suffices.
   */
  get peerRoom(): number {
    if (!this.#held) return Number.POSITIVE_INFINITY;
    const room = Math.floor(this.#held.room / this.#qos.keyChunkSize);
    const next = this.indexes.next + room;
    const waiting = this.buffer.waitingBelow(next + this.buffer.waitingBelow(0) + 1);
    return room + Math.max(0, waiting - this.producer.coming);
  }

  /** @throws KeyweaveError NO_ROOM where not one more chunk may be made for the peer. */
  assertPeerRoom(): void {
    if (this.peerRoom >= 1) return;
    const detail = `the other end holds its limit of ${this.#held?.limit} bytes of unread keys for node ${this.route.nextHop} (limits.max_held_bytes_per_peer)`;
    throw new KeyweaveError('NO_ROOM', detail);
  }

  /** Brings this stream's part of what is held for the peer up to date. */
  countHeld(): void {
    const chunks = this.#ended ? 0 : this.buffer.size + this.producer.coming;
    const bytes = chunks * this.#qos.keyChunkSize;
    this.#held?.change(bytes - this.#heldBytes);
    this.#heldBytes = bytes;
  }

  /** Whether the URIs of an OPEN_CONNECT are those of this stream. */
  isPair(source: string, destination: string): boolean {
    return this.terms.source === source && this.terms.destination === destination;
  }

  /** What both nodes have agreed on, before anything is made. */
  agree(qos: Qos, allowDegraded: boolean, mayLack: MayLack = LACKS_NOTHING): void {
    const { maxBps, keyChunkSize } = this.#qos;
    this.#qos = qos;
    this.leeway.agree(allowDegraded, mayLack);
    if (maxBps !== qos.maxBps || keyChunkSize !== qos.keyChunkSize) this.#rate = new DeliveryRate(qos);
    this.#maxBufferedChunks = this.#window();
  }

  /** An application of this end waits for the other one's. */
  awaitPeer(): void {
    this.#local = 'waiting';
  }

  /** No application of this end has it, or waits for it any more. */
  leave(): void {
    this.#local = 'absent';
  }

  /** An application of this end has it from now on. */
  join(owner: Owner): void {
    this.#local = 'joined';
    this.#owner = owner;
    this.#events.opened(this);
  }

  /** The other end's application has joined. */
  peerJoined(): void {
    if (this.#peer === 'joined') return;
    this.#peer = 'joined';
    this.#events.joined(this);
  }

  /** The peer's end is gone: what is confirmed may still be read, nothing more comes. */
  peerClosed(detail: string): void {
    if (this.#peer === 'closed') return;
    this.#peer = 'closed';
    this.#peerGone = detail;
    this.producer.stop();
    this.buffer.failWaiters(new KeyweaveError('PEER_APPLICATION_ABSENT', detail));
  }

  /** Ends this end: stops production, fails waiters, wipes every chunk. */
  end(error: KeyweaveError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#local = 'closed';
    this.producer.stop();
    this.#over?.abort();
    this.buffer.failWaiters(error);
    this.buffer.wipe();
    this.countHeld();
    this.#events.closed(this, error.detail);
  }

  /**
   * Takes a chunk: at once where it is there, else waiting for production up
   * to `timeoutMs`. The caller owns the chunk and wipes its key.
   *
   * @param fits such as whether the caller has room for the metadata.
   * @param more chunks that the caller takes beside it if they come with it.
   * @param signal fires when nobody waits for it any more; a chunk that is
   *   ready at once is given without a look at it.
   * @throws KeyweaveError TIMEOUT, NO_ROOM, INSUFFICIENT_KEY, PEER_APPLICATION_ABSENT,
   *   UNKNOWN_STREAM or the failure of production.
   */
  take(index: number | undefined, timeoutMs: number, fits: Fits, signal: AbortSignal, more = 0): Taken {
    if (this.#ended) throw this.#ended;
    const { delayMs, reserved } = this.#rate.reserve(this.#clock.monotonicMs(), timeoutMs);
    if (!reserved) {
      const detail = `max_bps ${this.#qos.maxBps} allows the next key in ${delayMs} ms, which is later than the timeout`;
      throw new KeyweaveError('INSUFFICIENT_KEY', detail);
    }
    if (delayMs === 0) return this.#take(index, timeoutMs, fits, signal, more);
    const leftMs = timeoutMs - delayMs;
    return this.#pause(delayMs, signal).then(() => this.#take(index, leftMs, fits, signal, more));
  }

  /** @throws KeyweaveError where the application has gone meanwhile, or the stream has ended. */
  async #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    this.#over ??= new AbortController();
    const either = AbortSignal.any([signal, this.#over.signal]);
    await pause(delayMs, either, this.#clock);
    if (!either.aborted) return;
    this.#rate.refund();
    throw this.#ended ?? abandonedError();
  }

  #take(...asked: Asked): Taken {
    try {
      const chunk = this.#takeReserved(...asked);
      if (chunk instanceof Promise) chunk.catch(() => this.#rate.refund());
      return chunk;
    } catch (error) {
      this.#rate.refund();
      throw error;
    }
  }

  #takeReserved(...asked: Asked): Taken {
    const [index, timeoutMs, fits, signal, more] = asked;
    const ready = this.buffer.peek(index);
    this.depth.noteGet(this.#clock.monotonicMs());
    if (ready !== undefined) {
      fits(ready);
      const chunk = this.buffer.take(ready.index) as Chunk;
      this.#events.delivered(this, chunk.index, chunk.degraded);
      this.refill();
      return chunk;
    }
    this.#assertCanCome(index);
    const sinceMs = this.#clock.monotonicMs();
    const waiting = this.buffer.wait(index, timeoutMs, () => this.#timeoutDetail(), signal, more);
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
        this.depth.noteWaited(sinceMs, this.#clock.monotonicMs());
        this.#events.delivered(this, chunk.index, chunk.degraded);
        return chunk;
      },
      (error: unknown) => {
        throw this.#waitedForRoom(error);
      },
    );
  }

  /** Time that ran out while the other end was full: its application did not read, and no source was late. */
  #waitedForRoom(error: unknown): unknown {
    const why = this.#lastFailure;
    return why !== undefined && isReason(why, 'NO_ROOM') && isReason(error, 'TIMEOUT') ? why : error;
  }

  /** Whole milliseconds since both ends had confirmed the chunk (`age` of ETSI GS QKD 004 V2.1.1, Table 3). */
  ageMs(chunk: Chunk): number {
    return Math.floor(this.#clock.monotonicMs() - chunk.availableAtMs);
  }

  /**
   * Asks for what demand and prefetch lack.
   *
   * @param lowWater part of its depth from which on an initiator is refilled.
   */
  refill(lowWater?: number): void {
    this.countHeld();
    if (this.#ended || this.#peer === 'closed') return;
    const { buffer, producer, indexes } = this;
    const there = buffer.size + producer.coming;
    // The initiator sees the same chunks go and acts first; the responder asks only where it is read faster.
    const now = this.#clock.monotonicMs();
    const when =
      this.role === 'initiator' ? ([lowWater] as const) : ([0.25, Number.POSITIVE_INFINITY] as const);
    let missing = this.depth.shortfall(there, buffer.wanted, now, ...when);
    const highest = buffer.highestWanted;
    if (highest >= indexes.frontier) {
      missing = Math.max(missing, highest - indexes.frontier + 1 - producer.coming);
    }
    const room = Math.min(this.maxBufferedChunks + buffer.waiting - there, this.peerRoom);
    producer.want(Math.max(0, Math.min(missing, room)));
  }

  /** The batch at `first` is over: its chunks, end to end, are here to be read. Takes ownership of `keys`. */
  release(first: number, keys: Buffer, degraded: Degraded): void {
    this.indexes.settle(first, true);
    if (this.#ended) {
      keys.fill(0);
      return;
    }
    this.#lastFailure = undefined;
    const { keyChunkSize } = this.#qos;
    this.#events.released(this, first, keys.length / keyChunkSize);
    if (degraded) this.#events.degraded(this, first, keys.length / keyChunkSize, degraded);
    this.buffer.release(first, keys, keyChunkSize, { nowMs: this.#clock.monotonicMs(), degraded });
    this.buffer.failGone(this.indexes.frontier);
  }

  /** The batch at `first` is over, and nothing comes of its `count` indexes. */
  drop(first: number, count: number, error: KeyweaveError): void {
    this.indexes.settle(first, false);
    this.buffer.failGone(this.indexes.frontier);
    if (!this.#ended) this.#events.dropped(this, first, count, error);
  }

  /** Notes why an exchange has failed that will be tried again. */
  noteFailure(error: KeyweaveError): void {
    this.#lastFailure = error;
  }

  /** Production has failed for good this time: those who wait are told. */
  failWaiters(error: KeyweaveError): void {
    this.#lastFailure = error;
    this.buffer.failWaiters(error);
  }

  /** @throws KeyweaveError where what is asked for cannot come. */
  #assertCanCome(index: number | undefined): void {
    if (this.#peer === 'closed') {
      const detail = `${this.#peerGone}; every confirmed key has been read`;
      throw new KeyweaveError('PEER_APPLICATION_ABSENT', detail);
    }
    if (index !== undefined && index < this.indexes.frontier) throw goneError(index);
    if (this.#peer === 'absent' && this.role === 'responder') return;
    const end = this.indexes.frontier + this.maxBufferedChunks - this.buffer.size;
    if (index !== undefined && index >= end) {
      const detail = `index ${index} is beyond the window, which ends at ${end - 1}`;
      throw new KeyweaveError('INSUFFICIENT_KEY', detail);
    }
  }

  #window(): number {
    return Math.max(1, Math.min(this.#maxChunks, Math.floor(this.#maxBytes / this.#qos.keyChunkSize)));
  }

  #timeoutDetail(): string {
    const why = this.#lastFailure ? `; last failure: ${this.#lastFailure.detail}` : '';
    return `no key was confirmed by both ends in time${why}`;
  }
}
