/** Cuts a byte stream into requests, whatever the segments. */
export interface Framer<F> {
  /** Bytes of a request that has begun and not ended. */
  readonly pending: number;
  /** Where the request ends that `next` gave (exclusive), in the segment that it was asked for. */
  readonly end: number;
  /** The first request that ends in `segment` at or after `from`; undefined when it completes no more: all of it is used up. */
  next(segment: Buffer, from: number): F | undefined;
  /** Wipes what is held; gives nothing more. */
  stop(): void;
}

const NOTHING = Buffer.alloc(0);

/**
 * What one client has sent and the gateway has not served: a request that is
 * not complete, and the bytes behind the last one that was taken. Whoever
 * fills it heeds `behind` and stops reading; it has no limit of its own beyond
 * that of a request.
 */
export class RequestInbox<F> {
  readonly #framer: Framer<F>;
  #bytes: Buffer = NOTHING;
  #at = 0;
  /** Whether `#bytes` is lent: the caller's, until `keep`. */
  #lent = false;

  /** @param framer holds what is not complete, within the limit of a request. */
  constructor(framer: Framer<F>) {
    this.#framer = framer;
  }

  /** Bytes that `next` has not looked at. */
  get behind(): number {
    return this.#bytes.length - this.#at;
  }

  /** Bytes of a request that has begun and not ended. */
  get unfinished(): number {
    return this.#framer.pending;
  }

  /** Lends what has been read; `keep` must follow before it is read into again. */
  lend(data: Buffer): void {
    if (this.behind > 0) this.#own(data);
    else {
      this.#replace(data);
      this.#lent = true;
    }
  }

  /** The next request, lent until the next call; undefined when there is no more that is whole. */
  next(): F | undefined {
    if (this.behind === 0) return undefined;
    const frame = this.#framer.next(this.#bytes, this.#at);
    this.#at = this.#framer.end;
    return frame;
  }

  /** Copies what is lent and not served yet. */
  keep(): void {
    if (!this.#lent) return;
    if (this.behind === 0) this.#replace(NOTHING);
    else this.#own(NOTHING);
  }

  /** Wipes everything; gives nothing more. */
  stop(): void {
    this.#replace(NOTHING);
    this.#framer.stop();
  }

  /** What is behind, and `more`, in memory that no other buffer shares. */
  #own(more: Buffer): void {
    const own = Buffer.allocUnsafeSlow(this.behind + more.length);
    more.copy(own, this.#bytes.copy(own, 0, this.#at));
    this.#replace(own);
  }

  /** What is our own is wiped: on a plain port the id of a stream is all that it takes to get its keys. */
  #replace(bytes: Buffer): void {
    if (!this.#lent) this.#bytes.fill(0);
    this.#bytes = bytes;
    this.#at = 0;
    this.#lent = false;
  }
}
