import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Streams whose position is remembered; older ones are taken at their word, as after a restart. */
const MAX_STREAMS = 65_536;

/**
 * How far each QKD stream has been read by this process. A reader that is not
 * where it thinks it is gets an error instead of somebody else's keys.
 */
export class StreamPositions {
  readonly #positions = new Map<string, bigint>();

  start(keyStreamId: string, epoch: number): void {
    this.#set(`${keyStreamId}/${epoch}`, 0n);
  }

  forget(keyStreamId: string, epoch: number): void {
    this.#positions.delete(`${keyStreamId}/${epoch}`);
  }

  /** Runs `read` if the stream stands at `position`; a failed read leaves the position unknown and the stream unusable. */
  async reading(
    keyStreamId: string,
    epoch: number,
    position: bigint,
    read: () => Promise<{ keys: Buffer; read: bigint }>,
  ): Promise<{ keys: Buffer }> {
    const name = `${keyStreamId}/${epoch}`;
    const known = this.#positions.get(name);
    if (known !== undefined && known !== position) {
      throw new KeyweaveError('QKD_OUT_OF_STEP', `the stream stands at another key than ${position}`);
    }
    // While this read is under way, and after it has failed, nobody else can be in step.
    this.#set(name, -1n);
    const { keys, read: count } = await read();
    this.#set(name, position + count);
    return { keys };
  }

  #set(name: string, position: bigint): void {
    this.#positions.delete(name);
    this.#positions.set(name, position);
    if (this.#positions.size > MAX_STREAMS) {
      for (const oldest of this.#positions.keys()) {
        this.#positions.delete(oldest);
        break;
      }
    }
  }
}
