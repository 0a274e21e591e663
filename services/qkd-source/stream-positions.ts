import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Streams whose position is remembered; older ones are taken at their word, as after a restart. */
const MAX_STREAMS = 65_536;

/** The position of a stream that is being read, or whose last read failed in the middle. */
const UNKNOWN = -1n;

/** One QKD stream: the Keyweave stream (UUID text), the epoch, and the key manager's own id. */
export interface StreamKey {
  readonly keyStreamId: string;
  readonly epoch: number;
  readonly qkdKeyStreamId: string;
}

/**
 * How far each QKD stream has been read by this process. A reader that is
 * behind gets an error instead of somebody else's keys. One that is ahead has
 * read through another replica meanwhile, as its requests say: a stream is not
 * bound to the replica that opened it.
 */
export class StreamPositions {
  readonly #positions = new Map<string, bigint>();

  /** Notes a stream that has just been opened. */
  start(stream: StreamKey): void {
    this.#set(nameOf(stream), 0n);
  }

  /** Notes that a stream is closed. */
  forget(stream: StreamKey): void {
    this.#positions.delete(nameOf(stream));
  }

  /**
   * Runs `read` unless this process has read the stream beyond `position`. A
   * read that may have lost a key leaves the position unknown and the stream
   * unusable.
   *
   * @throws KeyweaveError QKD_OUT_OF_STEP when the stream stands further on, or is being read.
   */
  async reading(
    stream: StreamKey,
    position: bigint,
    read: () => Promise<{ keys: Buffer; read: bigint }>,
  ): Promise<{ keys: Buffer }> {
    const name = nameOf(stream);
    const known = this.#positions.get(name);
    if (known !== undefined && (known === UNKNOWN || known > position)) {
      throw new KeyweaveError('QKD_OUT_OF_STEP', `the stream does not stand at key ${position}`);
    }
    // While this read is under way nobody else can be in step.
    this.#set(name, UNKNOWN);
    try {
      const { keys, read: count } = await read();
      this.#move(name, position + count);
      return { keys };
    } catch (error) {
      if (isReason(error, 'QKD_UNAVAILABLE')) this.#move(name, position);
      throw error;
    }
  }

  /** A stream that was closed meanwhile stays forgotten. */
  #move(name: string, position: bigint): void {
    if (this.#positions.has(name)) this.#set(name, position);
  }

  #set(name: string, position: bigint): void {
    this.#positions.delete(name);
    this.#positions.set(name, position);
    if (this.#positions.size <= MAX_STREAMS) return;
    const { value: oldest } = this.#positions.keys().next();
    if (oldest !== undefined) this.#positions.delete(oldest);
  }
}

/** One text for a stream. */
export function nameOf({ keyStreamId, epoch, qkdKeyStreamId }: StreamKey): string {
  return `${keyStreamId}/${epoch}/${qkdKeyStreamId}`;
}
