import { MAX_KEY_NAME_BYTES } from '#common/catalogue/qkd-keys.ts';
import { ownCopy, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isSound } from '#common/errors/outcome.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { Log } from '#common/log/log.ts';
import type { Clock } from '#common/time/clock.ts';
import type { QkdClient } from './qkd-client.ts';

/** How long an opening that nobody waits for any more may still take. */
const LEAVING_MS = 500;

/** No key is found by it. */
const NO_NAME = new Uint8Array(1);

/** What every QKD stream of a gateway leans on. */
export interface QkdTools {
  readonly qkd: QkdClient;
  readonly clock: Pick<Clock, 'after' | 'monotonicMs'>;
  readonly log: Log;
}

/** Which stream at the key managers: both ends name it alike. */
export interface QkdSequenceName {
  /** 16 bytes. */
  readonly reservoir: Buffer;
  readonly epoch: number;
  readonly initiatorNode: string;
  readonly responderNode: string;
  /** Bytes of one QKD key, and keys that the key manager gives as one. */
  readonly keyBytes: number;
  readonly blockKeys: number;
}

/** Whole keys, end to end, the caller's to wipe. */
export interface ReadKeys {
  readonly keys: Buffer;
  /** The key manager had fewer than it was asked for. */
  readonly ranDry: boolean;
  /** Most keys in one block that it is known to give; 0 is no news. */
  readonly givenBlockKeys: number;
}

/**
 * One epoch of QKD keys as this end's key manager gives them: a stream there,
 * opened once and read from its first key on in strict sequence, whole blocks
 * at a time.
 */
export class QkdSequence {
  readonly name: QkdSequenceName;
  readonly #tools: QkdTools;
  readonly #left = new AbortController();
  #opening: Promise<string> | undefined;
  /** The key manager's id of this end's stream, once open. */
  #handle: string | undefined;
  #blocks = 0;
  /** Of keys that were read, by their numbers, where the key manager names them. */
  readonly #names = new Map<number, Uint8Array>();
  #ended = false;

  constructor(tools: QkdTools, name: QkdSequenceName) {
    this.#tools = tools;
    this.name = name;
  }

  /** Keys read so far: the number of the next one. */
  get read(): number {
    return this.#blocks * this.name.blockKeys;
  }

  get isOpen(): boolean {
    return this.#handle !== undefined;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * The key manager's id of the stream, which is opened where it is not: one
   * opening at a time, a failed one may be repeated.
   *
   * @param join the id that the other end was given; empty where the two meet by URIs.
   * @throws KeyweaveError QKD_UNAVAILABLE and others of the key manager; QKD_OUT_OF_STEP after the end.
   */
  open(join: string): Promise<string> {
    if (this.#opening) return this.#opening;
    if (this.#ended) return Promise.reject(this.#hasEnded());
    const { reservoir, epoch, initiatorNode, responderNode, keyBytes, blockKeys } = this.name;
    const { signal } = this.#left;
    const opening = this.#tools.qkd
      .open(
        {
          keyStreamId: reservoir,
          epoch,
          sourceNode: initiatorNode,
          destinationNode: responderNode,
          keyBytes: keyBytes * blockKeys,
          qkdKeyStreamId: join,
        },
        signal,
      )
      .catch((thrown: unknown) => {
        throw signal.aborted ? this.#hasEnded() : thrown;
      });
    this.#opening = opening;
    opening.then(
      (handle) => {
        this.#handle = handle;
      },
      () => {
        this.#opening = undefined;
      },
    );
    return opening;
  }

  /**
   * The next keys, at least `count` of them in whole blocks, or fewer where the
   * key manager has run dry. One read at a time; the stream must be open.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE where surely no key is lost, else what follows is unusable.
   */
  async next(count: number): Promise<ReadKeys> {
    const { reservoir, epoch, keyBytes, blockKeys } = this.name;
    const handle = this.#handle;
    if (handle === undefined) throw this.#hasEnded();
    const blockBytes = keyBytes * blockKeys;
    const most = Math.min(
      MESSAGE_LIMITS.qkdKeys.filled,
      Math.floor(MESSAGE_LIMITS.qkdBytes.filled / blockBytes),
    );
    const blocks = Math.min(most, Math.ceil(count / blockKeys));
    const {
      results,
      blockBytes: given,
      names: [names = []] = [],
    } = await this.#tools.qkd.fetch([
      {
        keyStreamId: reservoir,
        epoch,
        position: BigInt(this.#blocks),
        count: blocks,
        keyBytes: blockBytes,
        qkdKeyStreamId: handle,
        keyNames: [],
      },
    ]);
    const [keys] = results;
    if (keys === undefined || !isSound(keys)) throw keys ?? this.#hasEnded();
    if (this.#ended) {
      wipe(keys);
      throw this.#hasEnded();
    }
    const got = keys.length / blockBytes;
    if (!Number.isInteger(got) || got > blocks) {
      wipe(keys);
      throw new KeyweaveError('QKD_OUT_OF_STEP', 'qkd-source answered with a wrong size');
    }
    if (!this.#keepNames(names, got)) {
      wipe(keys);
      throw new KeyweaveError('QKD_OUT_OF_STEP', 'qkd-source named the keys otherwise than one by one');
    }
    this.#blocks += got;
    return { keys, ranDry: got < blocks, givenBlockKeys: Math.floor(given / keyBytes) };
  }

  /** Names of `count` keys from number `first` on, which were read; none where the key manager names none. */
  namesOf(first: number, count: number): Uint8Array[] {
    if (this.#names.size === 0) return [];
    return Array.from({ length: count }, (_, i) => this.#names.get(first + i) ?? NO_NAME);
  }

  /** Nobody asks for the names of keys below number `end` any more. */
  forgetNames(end: number): void {
    for (const number of this.#names.keys()) {
      if (number >= end) return;
      this.#names.delete(number);
    }
  }

  /**
   * Exactly the keys that the other end has named, the caller's to wipe. The
   * stream must be open.
   *
   * @param position number of the first of them.
   * @throws KeyweaveError QKD_UNAVAILABLE where surely none of them is lost.
   */
  async named(position: number, keyNames: readonly Uint8Array[]): Promise<Buffer> {
    const { reservoir, epoch, keyBytes } = this.name;
    const handle = this.#handle;
    if (handle === undefined) throw this.#hasEnded();
    const { results } = await this.#tools.qkd.fetch([
      {
        ...{ keyStreamId: reservoir, epoch, position: BigInt(position), count: keyNames.length, keyBytes },
        ...{ qkdKeyStreamId: handle, keyNames: [...keyNames] },
      },
    ]);
    const [keys] = results;
    if (keys === undefined || !isSound(keys)) throw keys ?? this.#hasEnded();
    if (this.#ended || keys.length !== keyNames.length * keyBytes) {
      wipe(keys);
      throw this.#hasEnded();
    }
    return keys;
  }

  /** Closes the stream at the key manager, or gives up opening it; safe to repeat. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const { reservoir: keyStreamId, epoch } = this.name;
    const { qkd, clock, log } = this.#tools;
    // One that is done in a moment can be closed at the key manager, too.
    if (this.#opening && !this.isOpen) clock.after(LEAVING_MS, () => this.#left.abort(), true);
    this.#opening
      ?.then((qkdKeyStreamId) => qkd.close({ keyStreamId, epoch, qkdKeyStreamId }))
      .catch((cause: unknown) => log.debug('the QKD stream was not closed', { epoch }, cause));
    this.#handle = undefined;
  }

  /** False where they are not one for each key. */
  #keepNames(names: readonly Uint8Array[], got: number): boolean {
    if (names.length === 0 && this.#names.size === 0) return true;
    const fit = names.length === got && this.name.blockKeys === 1;
    if (!fit || names.some(({ length }) => length < 1 || length > MAX_KEY_NAME_BYTES)) return false;
    for (const [i, name] of names.entries()) this.#names.set(this.#blocks + i, ownCopy(name));
    return true;
  }

  #hasEnded(): KeyweaveError {
    return new KeyweaveError('QKD_OUT_OF_STEP', `QKD epoch ${this.name.epoch} has been left`);
  }
}
