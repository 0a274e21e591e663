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
 * The keys of a key manager that names each of them instead of numbering those
 * of a stream. Errors are those of the driver; a key that one end may have lost
 * is lost alone, what follows is not.
 */
export interface NamedKeys {
  /**
   * Up to `count` new keys of `keyBytes`, end to end and the caller's to wipe,
   * and for each the name by which the other end finds it.
   */
  take(handle: string, count: number, keyBytes: number, signal: AbortSignal): Promise<TakenKeys>;
  /**
   * Exactly the keys that the other end has taken under these names, end to end.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE also for names that are none or that nobody knows.
   */
  find(handle: string, names: readonly Uint8Array[], keyBytes: number, signal: AbortSignal): Promise<Buffer>;
}

export interface TakenKeys {
  readonly keys: Buffer;
  /** At most MAX_KEY_NAME_BYTES each. */
  readonly names: readonly Buffer[];
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
  /** Set where the key manager names its keys: they are read by this, and `fetch` refuses. */
  readonly named?: NamedKeys;
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
