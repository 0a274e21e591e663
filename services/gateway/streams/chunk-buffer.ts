import { packedItem } from '#common/crypto/bytes.ts';
import { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import type { Degraded } from './policy/lacking.ts';

/** A confirmed key, owned by whoever holds it: the buffer until taken, then the caller, who wipes `key`. */
export interface Chunk {
  readonly index: number;
  readonly key: Secret;
  /** When both ends had confirmed it, by the stream's monotonic clock, milliseconds. */
  readonly availableAtMs: number;
  /** What of the agreed sources did not go into it as it is. */
  readonly degraded: Degraded;
}

interface Waiter {
  /** The index asked for; undefined = the next unread one. */
  readonly index: number | undefined;
  /** Chunks beyond this one that are taken if they come with it. */
  readonly more: number;
  readonly resolve: (chunk: Chunk) => void;
  readonly reject: (error: KeyweaveError) => void;
  readonly timer: Timer;
  readonly signal: AbortSignal;
  readonly abandon: () => void;
}

/**
 * Confirmed, unread chunks of one end of a stream, and the GET_KEYs that wait
 * for more. Each chunk leaves at most once; indexes only ever grow.
 */
export class ChunkBuffer {
  /** In ascending index order: chunks are released in that order. */
  readonly #chunks = new Map<number, Chunk>();
  readonly #waiters = new Set<Waiter>();
  readonly #clock: Pick<Clock, 'after'>;

  constructor(clock: Pick<Clock, 'after'>) {
    this.#clock = clock;
  }

  /** Unread chunks. */
  get size(): number {
    return this.#chunks.size;
  }

  /** GET_KEYs that wait. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /** Chunks that those who wait would take. */
  get wanted(): number {
    let wanted = this.#waiters.size;
    for (const { more } of this.#waiters) wanted += more;
    return wanted;
  }

  /** GET_KEYs that wait for any chunk, or for one by number below `end`. */
  waitingBelow(end: number): number {
    let waiting = 0;
    for (const { index = -1 } of this.#waiters) if (index < end) waiting += 1;
    return waiting;
  }

  /** Fails those who wait for an index below `frontier` that is not here: it has gone, or was never made. */
  failGone(frontier: number): void {
    for (const waiter of this.#waiters) {
      const { index } = waiter;
      if (index === undefined || index >= frontier || this.#chunks.has(index)) continue;
      this.#settle(waiter, () => waiter.reject(goneError(index)));
    }
  }

  /** Highest index that a waiting GET_KEY has asked for by number; -1 without one. */
  get highestWanted(): number {
    let highest = -1;
    for (const waiter of this.#waiters) {
      if (waiter.index !== undefined && waiter.index > highest) highest = waiter.index;
    }
    return highest;
  }

  /** Takes the next unread chunk, or the one at `index`; undefined when it is not there. */
  take(index?: number): Chunk | undefined {
    const chunk = index === undefined ? this.#first() : this.#chunks.get(index);
    if (chunk) this.#chunks.delete(chunk.index);
    return chunk;
  }

  /** The chunk that `take` would give, left in place. */
  peek(index?: number): Chunk | undefined {
    return index === undefined ? this.#first() : this.#chunks.get(index);
  }

  /**
   * Waits for a chunk. Once `signal` fires none is taken any more.
   *
   * @param more chunks beyond it that whoever waits takes if they come with it.
   * @throws KeyweaveError TIMEOUT after `timeoutMs` or when the signal fires,
   *   INSUFFICIENT_KEY when the index goes (`failGone`), or whatever
   *   `failWaiters` is given.
   */
  wait(
    index: number | undefined,
    timeoutMs: number,
    timeoutDetail: () => string,
    signal: AbortSignal,
    more = 0,
  ): Promise<Chunk> {
    if (signal.aborted) return Promise.reject(abandonedError());
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(timeoutMs, () => {
        this.#settle(waiter, () => reject(new KeyweaveError('TIMEOUT', timeoutDetail())));
      });
      const abandon = () => this.#settle(waiter, () => reject(abandonedError()));
      const waiter: Waiter = { index, more, resolve, reject, timer, signal, abandon };
      signal.addEventListener('abort', abandon);
      this.#waiters.add(waiter);
    });
  }

  /**
   * Adds confirmed chunks `[first, first + count)` of `chunkBytes` each, end
   * to end in `keys`, and serves those who wait. Takes ownership of `keys`,
   * memory of their own: each chunk is a view of it, so that the last one to
   * be read keeps that of its batch, wiped but for itself (8 KiB of 256 chunks
   * of 32 bytes).
   */
  release(
    first: number,
    keys: Buffer,
    chunkBytes: number,
    meta: { nowMs: number; degraded: Degraded },
  ): void {
    const count = keys.length / chunkBytes;
    for (let i = 0; i < count; i++) {
      const key = new Secret(packedItem(keys, i, chunkBytes));
      const chunk: Chunk = { index: first + i, key, availableAtMs: meta.nowMs, degraded: meta.degraded };
      this.#chunks.set(chunk.index, chunk);
    }
    this.#serve();
  }

  /** Returns a chunk that was taken and could not be delivered; it becomes the next one if it is the lowest. */
  putBack(chunk: Chunk): void {
    const later = [...this.#chunks.values()].filter((other) => other.index > chunk.index);
    for (const other of later) this.#chunks.delete(other.index);
    for (const one of [chunk, ...later]) this.#chunks.set(one.index, one);
    this.#serve();
  }

  /** Fails everybody who waits. */
  failWaiters(error: KeyweaveError): void {
    for (const waiter of this.#waiters) this.#settle(waiter, () => waiter.reject(error));
  }

  /** Wipes the unread chunks that were there before `atMs`, by the clock of their `availableAtMs`. */
  wipeBefore(atMs: number): void {
    for (const chunk of this.#chunks.values()) {
      if (chunk.availableAtMs >= atMs) return;
      chunk.key.wipe();
      this.#chunks.delete(chunk.index);
    }
  }

  /** Wipes the unread chunks of which `isUnfit` holds. */
  wipeUnfit(isUnfit: (chunk: Chunk) => boolean): void {
    for (const chunk of this.#chunks.values()) {
      if (!isUnfit(chunk)) continue;
      chunk.key.wipe();
      this.#chunks.delete(chunk.index);
    }
  }

  /** Wipes every unread chunk. */
  wipe(): void {
    for (const chunk of this.#chunks.values()) chunk.key.wipe();
    this.#chunks.clear();
  }

  #first(): Chunk | undefined {
    for (const chunk of this.#chunks.values()) return chunk;
    return undefined;
  }

  /** Those who named an index come first, so that nobody else takes it from under them. */
  #serve(): void {
    if (this.#waiters.size === 0) return;
    for (const named of [true, false]) {
      for (const waiter of this.#waiters) {
        if ((waiter.index !== undefined) !== named) continue;
        const chunk = this.take(waiter.index);
        if (chunk) this.#settle(waiter, () => waiter.resolve(chunk));
      }
    }
  }

  #settle(waiter: Waiter, act: () => void): void {
    waiter.timer.cancel();
    waiter.signal.removeEventListener('abort', waiter.abandon);
    this.#waiters.delete(waiter);
    act();
  }
}

/** Why a request ends whose application waits for it no longer. */
export function abandonedError(): KeyweaveError {
  return new KeyweaveError('TIMEOUT', 'the application has gone away');
}

/** Why an index is not to be had any more. */
export function goneError(index: number): KeyweaveError {
  return new KeyweaveError('INSUFFICIENT_KEY', `index ${index} has been taken, or was dropped at both ends`);
}
