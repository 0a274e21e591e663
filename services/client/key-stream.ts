import type { DeliveredKey } from './delivered-key.ts';
import type { QualityOfService } from './quality-of-service.ts';

export interface CallOptions {
  /** Gives the call up, which then rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What it takes to go on with a stream later, or in another process of the same application. No secret. */
export interface StreamHandle {
  readonly ksid: string;
  readonly qos: QualityOfService;
  readonly position: number;
}

/**
 * One end of a stream of keys. The stream is the node's: it outlives the
 * connection, and ends with `close()`, by its TTL, or with the node.
 *
 * Both ends get the same keys, each index once. An index may be missing at
 * both ends, and after trouble at one alone; so whoever uses a key tells the
 * other end its index.
 */
export interface KeyStream extends AsyncIterable<DeliveredKey>, AsyncDisposable {
  /** The stream's name at both ends: a UUID, no secret. */
  readonly ksid: string;
  /** What both nodes have agreed on. */
  readonly qos: QualityOfService;
  /** What of the QoS that was asked for was adjusted, in words; undefined = nothing. */
  readonly adjusted: string | undefined;
  /** Lowest index that `next` can still give: what both ends compare to find back into step. */
  readonly position: number;
  /** Calls whose answer was lost on the way: so many keys, at most, have been taken at the node and did not arrive. */
  readonly lostAnswers: number;

  /**
   * The next key that this end has not taken; waits at the node up to
   * `qos.timeoutMs`. Goes on over a new connection where one fails. Calls take
   * their turns; a refusal takes no key, and the call may be made again.
   *
   * @throws KeyStreamError
   */
  next(options?: CallOptions): Promise<DeliveredKey>;

  /**
   * The key of an index, such as one that the other end has named.
   *
   * @throws KeyStreamError INSUFFICIENT_KEY (status 2) where the index has gone at this end, or lies too far ahead.
   */
  at(index: number, options?: CallOptions): Promise<DeliveredKey>;

  /** From now on `next` gives no index below this one: the keys between are taken, and wiped unread. */
  skipTo(index: number): void;

  /** The keys in order until this end is closed; a failure of `next` ends the loop with it, and another loop goes on. */
  [Symbol.asyncIterator](): AsyncIterator<DeliveredKey, undefined>;

  /** Ends the connection and leaves the stream open at the node, for `resume`. What is under way fails. */
  detach(): StreamHandle;

  /** CLOSE: the keys that this end has not taken are wiped at the node. What is under way fails with CLOSED. @throws KeyStreamError */
  close(options?: CallOptions): Promise<void>;

  /** As `close`, and content where the node cannot be told: it ends the stream by its TTL. */
  [Symbol.asyncDispose](): Promise<void>;
}
