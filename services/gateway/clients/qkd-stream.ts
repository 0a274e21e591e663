import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { isSound, type Outcome, settled } from '#common/errors/outcome.ts';
import type { Log } from '#common/log/log.ts';
import type { Clock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { QkdFetch } from '#gen/keyweave/v1/qkd_source.ts';
import type { QkdClient } from './qkd-client.ts';

/** How long the initiator waits for a KSID before it lets the other end open by URIs alone. */
const KSID_PATIENCE_MS = 250;

/** Most QKD keys in one block: 2 KiB of key at a time. */
const MAX_BLOCK_KEYS = 64;

/** How long an opening whose epoch has been left may still take. */
const LEAVING_MS = 500;

/** Longest id of a key manager's stream that is taken from the other end, characters; UUIDs have 36. */
const MAX_HANDLE_CHARS = 256;

/** What every QKD stream of a gateway leans on. */
export interface QkdStreamTools {
  readonly qkd: QkdClient;
  readonly clock: Pick<Clock, 'after'>;
  readonly log: Log;
  /** How both ends meet at the key managers (`qkd.join`). */
  readonly join: 'auto' | 'ksid' | 'uris';
}

export interface QkdStreamOptions {
  tools: QkdStreamTools;
  keyStreamId: Buffer;
  initiatorNode: string;
  responderNode: string;
  /** Bytes of one QKD key. */
  keyBytes: number;
  /** Initiator: the first epoch, which the responder follows; default 0. */
  firstEpoch?: number;
}

/**
 * How far the initiator is with the epoch: it has opened nothing, is opening,
 * or may offer batches of it, since its stream is open, or opens when the
 * other end comes, too.
 */
export type EpochPhase = 'new' | 'preparing' | 'ready';

/**
 * One end's QKD stream towards its key manager. Both ends read the same
 * sequence of blocks, each of one or more QKD keys; whenever they may have
 * lost step the initiator raises the epoch, and each epoch is a stream of its
 * own at the key managers.
 */
export class QkdStream {
  readonly #options: QkdStreamOptions;
  #epoch = 0;
  #blockKeys = 1;
  #givenBlockKeys = 0;
  /** Blocks read in this epoch. */
  #position = 0n;
  /** Initiator: blocks that agreed batches take, read or not. */
  #reserved = 0n;
  #opening: Promise<string> | undefined;
  #ended = false;
  #phase: EpochPhase = 'new';
  /** Ends the opening that is under way. */
  #left = new AbortController();
  /** This end's stream at its key manager, once open. */
  #handle: string | undefined;
  /** The key manager's stream id where the two ends share one, else empty. */
  #shared = '';

  constructor(options: QkdStreamOptions) {
    this.#options = options;
    this.#epoch = options.firstEpoch ?? 0;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get blockKeys(): number {
    return this.#blockKeys;
  }

  /** Most QKD keys in one block that this end's key manager is known to give; 0: it is not known to give blocks. */
  get givenBlockKeys(): number {
    return this.#givenBlockKeys;
  }

  get isOpen(): boolean {
    return this.#handle !== undefined;
  }

  /** Initiator: how far this epoch is. */
  get phase(): EpochPhase {
    return this.#phase;
  }

  /**
   * Initiator: opens where needed. A key manager that answers only when the
   * other end has come too is given a moment; then the other end is told to
   * open by URIs.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE and others when the key manager refuses at once.
   */
  async prepare(): Promise<void> {
    const epoch = this.#epoch;
    this.#phase = 'preparing';
    try {
      const known = await this.#sharedId();
      if (epoch !== this.#epoch) return;
      if (known !== undefined) this.#shared = known;
      this.#phase = 'ready';
    } catch (thrown) {
      if (epoch === this.#epoch) this.#phase = 'new';
      throw thrown;
    }
  }

  /** The key manager's id that the other end joins by; undefined where it opens by URIs. */
  async #sharedId(): Promise<string | undefined> {
    const { join, clock } = this.#options.tools;
    const opening = this.#open('');
    if (join === 'uris') return undefined;
    return join === 'ksid' ? opening : waitFor(opening, KSID_PATIENCE_MS, undefined, clock);
  }

  /** Initiator, after `prepare`: names the stream and position for the other end. */
  reference(): QkdReference {
    return {
      epoch: this.#epoch,
      qkdKeyStreamId: this.#shared,
      position: this.#reserved,
      blockKeys: this.#blockKeys,
    };
  }

  /** Initiator: the other end has taken `count` keys for a batch, so the next one starts behind them. */
  reserve(count: number): void {
    this.#reserved += this.#blocks(count);
  }

  /** Responder: moves to the initiator's epoch and checks that both ends are in step. */
  async follow(reference: QkdReference): Promise<void> {
    const { epoch, position, blockKeys } = reference;
    if (epoch < this.#epoch) throw new KeyweaveError('QKD_OUT_OF_STEP', `QKD epoch ${epoch} has been left`);
    if (blockKeys < 1 || blockKeys > MAX_BLOCK_KEYS) {
      throw new KeyweaveError('BAD_REQUEST', `block_keys must be 1 to ${MAX_BLOCK_KEYS}, not ${blockKeys}`);
    }
    if (blockKeys > Math.max(1, this.#givenBlockKeys)) {
      throw new KeyweaveError('QKD_UNAVAILABLE', `this end does not read blocks of ${blockKeys} QKD keys`);
    }
    if (reference.qkdKeyStreamId.length > MAX_HANDLE_CHARS) {
      throw new KeyweaveError(
        'BAD_REQUEST',
        `qkd_key_stream_id must not exceed ${MAX_HANDLE_CHARS} characters`,
      );
    }
    if (epoch > this.#epoch) {
      this.close();
      this.#epoch = epoch;
      this.#blockKeys = blockKeys;
    }
    if (position !== this.#position || blockKeys !== this.#blockKeys) {
      throw new KeyweaveError(
        'QKD_OUT_OF_STEP',
        `the other end reads block ${position} of ${blockKeys} QKD keys, this one ${this.#position} of ${this.#blockKeys}`,
      );
    }
    this.#shared = reference.qkdKeyStreamId;
    await this.#open(this.#shared);
  }

  /** Initiator: leaves this epoch, since the ends may have lost step or the size of blocks changes. */
  renew(blockKeys = this.#blockKeys): void {
    this.close();
    this.#epoch += 1;
    this.#blockKeys = Math.min(MAX_BLOCK_KEYS, blockKeys);
  }

  /** Opens where needed; the handle at the key manager. */
  opened(): Promise<string> {
    return this.#open(this.#shared);
  }

  /** Initiator: whether a batch that was offered under `reference` may still be read. */
  isNext(reference: QkdReference): boolean {
    return reference.epoch === this.#epoch && reference.position === this.#position;
  }

  /** What to ask qkd-source for: the blocks that hold the next `count` keys. */
  fetchOf(handle: string, count: number): QkdFetch {
    return {
      keyStreamId: this.#options.keyStreamId,
      epoch: this.#epoch,
      position: this.#position,
      count: Number(this.#blocks(count)),
      keyBytes: this.#options.keyBytes * this.#blockKeys,
      qkdKeyStreamId: handle,
    };
  }

  /** Notes what a fetch brought: the position moves by whole blocks. */
  advance(keys: Buffer): void {
    this.#position += BigInt(Math.floor(keys.length / (this.#options.keyBytes * this.#blockKeys)));
  }

  /** Notes the largest key, in bytes, that this end's key manager is known to give; 0 is no news. */
  noteBlockBytes(bytes: number): void {
    if (bytes === 0) return;
    this.#givenBlockKeys = Math.min(MAX_BLOCK_KEYS, Math.floor(bytes / this.#options.keyBytes));
  }

  /** Closes for good: whoever still has a batch under way opens nothing any more. */
  end(): void {
    this.#ended = true;
    this.close();
  }

  /** Closes the stream at the key manager, or gives up opening it; safe to repeat. */
  close(): void {
    const left = this.#left;
    this.#left = new AbortController();
    // One that is done in a moment can be closed at the key manager, too.
    if (this.#opening && !this.isOpen) this.#options.tools.clock.after(LEAVING_MS, () => left.abort(), true);
    const opening = this.#opening;
    const epoch = this.#epoch;
    this.#opening = undefined;
    this.#handle = undefined;
    this.#position = 0n;
    this.#reserved = 0n;
    this.#shared = '';
    this.#phase = 'new';
    const { tools, keyStreamId } = this.#options;
    opening
      ?.then((qkdKeyStreamId) => tools.qkd.close({ keyStreamId, epoch, qkdKeyStreamId }))
      .catch((cause: unknown) => tools.log.debug('the QKD stream was not closed', { epoch }, cause));
  }

  #blocks(keys: number): bigint {
    return BigInt(Math.ceil(keys / this.#blockKeys));
  }

  /** The key manager's id of this end's stream; one opening at a time, a failed one may be repeated. */
  #open(join: string): Promise<string> {
    if (this.#opening) return this.#opening;
    if (this.#ended) {
      return Promise.reject(new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream'));
    }
    const { tools, keyStreamId, initiatorNode, responderNode, keyBytes } = this.#options;
    const { signal } = this.#left;
    const epoch = this.#epoch;
    const opening = tools.qkd
      .open(
        {
          keyStreamId,
          epoch,
          sourceNode: initiatorNode,
          destinationNode: responderNode,
          keyBytes: keyBytes * this.#blockKeys,
          qkdKeyStreamId: join,
        },
        signal,
      )
      .catch((thrown: unknown) => {
        if (!signal.aborted) throw thrown;
        throw new KeyweaveError('QKD_OUT_OF_STEP', `QKD epoch ${epoch} has been left`);
      });
    this.#opening = opening;
    opening.then(
      (handle) => {
        if (this.#opening === opening) this.#handle = handle;
      },
      () => {
        if (this.#opening === opening) this.#opening = undefined;
      },
    );
    return opening;
  }
}

/** Keys that one batch needs of its QKD stream. */
export interface QkdNeed {
  readonly from: QkdStream;
  readonly count: number;
}

/**
 * Reads the next keys of several streams in one call. For each batch its keys
 * end to end (fewer than needed when the key manager ran dry; none where it
 * needs none), which the caller wipes, or why there are none. Never rejects.
 */
export async function fetchTogether(
  qkd: QkdClient,
  needs: readonly Outcome<QkdNeed | undefined>[],
): Promise<Outcome<Buffer>[]> {
  const opened = await Promise.all(
    needs.map(async (need) => {
      if (!isSound(need) || need === undefined) return need;
      const handle = await settled(() => need.from.opened());
      return isSound(handle) ? { ...need, handle } : handle;
    }),
  );
  const asked = opened.flatMap((need) => (isSound(need) && need ? [need] : []));
  const fetched = await settled(() =>
    qkd.fetch(asked.map(({ from, handle, count }) => from.fetchOf(handle, count))),
  );
  let next = 0;
  return opened.map((need) => {
    if (!isSound(need)) return need;
    if (need === undefined) return Buffer.alloc(0);
    if (!isSound(fetched)) return fetched;
    const result = fetched.results[next++] as Outcome<Buffer>;
    need.from.noteBlockBytes(fetched.blockBytes);
    if (isSound(result)) need.from.advance(result);
    return result;
  });
}
