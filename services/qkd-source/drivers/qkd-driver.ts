/** Longest handle of a stream that is taken from a key manager or from the other end, characters; UUIDs have 36. */
export const MAX_HANDLE_CHARS = 256;

/** Which QKD stream: the Keyweave stream, its epoch, and the two nodes. */
export interface QkdStreamName {
  /** Key_stream_ID of the Keyweave stream, UUID text. */
  readonly keyStreamId: string;
  readonly epoch: number;
  readonly sourceNode: string;
  readonly destinationNode: string;
}

/**
 * Speaks one key manager protocol.
 *
 * Contract: both ends of a stream read the same keys in the same order. `open`
 * gives the key manager's own handle of the stream. `fetch` reads the next
 * keys in strict sequence and gives fewer than asked only when the key manager
 * ran dry after them. Every wait is bounded by the signal and the configured
 * timeout. Keys are owned by the caller, who wipes them; keys that are not
 * handed over are wiped here. One fetch of a stream at a time.
 *
 * Errors: QKD_UNAVAILABLE when surely no key was consumed, QKD_OUT_OF_STEP
 * when one may have been.
 */
export interface QkdDriver {
  /**
   * @param keyBytes size of each key of the stream.
   * @param join the handle that the other end was given, where it should be joined by it; else empty.
   */
  open(stream: QkdStreamName, keyBytes: number, join: string, signal: AbortSignal): Promise<string>;
  /**
   * Gives up to `count` keys of `keyBytes`, end to end.
   *
   * @param first ordinal of the first key, for key managers that honour it.
   */
  fetch(handle: string, first: bigint, count: number, keyBytes: number, signal: AbortSignal): Promise<Buffer>;
  /** Tells the key manager that the stream is done, as well as that can be done; never rejects. */
  close(handle: string, signal: AbortSignal): Promise<void>;
  /** Largest key that the key manager is known to give at once, bytes; 0: not known to give more than single keys. */
  readonly blockBytes: number;
  /**
   * Finds out in the background what the key manager can do beyond one request
   * for one key at a time, on streams and connections of its own; does nothing
   * where that is known, or not to be tried now. Resolves when done; never rejects.
   *
   * @param between two nodes, this one among them, between which a stream is being opened: blocks need both; the
   *   last two named are tried again where none are.
   */
  learn(between?: Pick<QkdStreamName, 'sourceNode' | 'destinationNode'>): Promise<void>;
  /** Ends all connections. */
  stop(): void;
}
