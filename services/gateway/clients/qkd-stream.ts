import { asBuffer } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { QkdFetch } from '#gen/keyweave/v1/qkd_source.ts';
import type { NodeServices } from './node-services.ts';

/** How long the initiator waits for a KSID before it lets the other end open by URIs alone. */
const KSID_PATIENCE_MS = 250;

/** Most QKD keys in one block: 2 KiB of key at a time. */
const MAX_BLOCK_KEYS = 64;

/** How long an opening whose epoch has been left may still take. */
const LEAVING_MS = 500;

/** Longest id of a key manager's stream that is taken from the other end, characters; UUIDs have 36. */
const MAX_HANDLE_CHARS = 256;

export interface QkdStreamOptions {
  services: NodeServices;
  keyStreamId: Buffer;
  initiatorNode: string;
  responderNode: string;
  /** Bytes of one QKD key. */
  keyBytes: number;
  /** Initiator: the first epoch, which the responder follows; default 0. */
  firstEpoch?: number;
}

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

  /**
   * Initiator: opens where needed. A key manager that answers only when the
   * other end has come too is given a moment; then the other end is told to
   * open by URIs.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE and others when the key manager refuses at once.
   */
  async prepare(): Promise<void> {
    const epoch = this.#epoch;
    const opening = this.#open('');
    const { join } = this.#options.services.qkd;
    if (join === 'uris') return;
    const known = join === 'ksid' ? await opening : await waitFor(opening, KSID_PATIENCE_MS);
    if (epoch === this.#epoch && known !== undefined) this.#shared = known;
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
    if (this.#opening && !this.isOpen) setTimeout(() => left.abort(), LEAVING_MS).unref();
    const opening = this.#opening;
    const epoch = this.#epoch;
    this.#opening = undefined;
    this.#handle = undefined;
    this.#position = 0n;
    this.#reserved = 0n;
    this.#shared = '';
    const { services, keyStreamId } = this.#options;
    opening
      ?.then((qkdKeyStreamId) =>
        services.qkdSource.closeQkd(
          { keyStreamId, epoch, qkdKeyStreamId },
          { timeoutMs: services.qkd.timeout },
        ),
      )
      .catch((cause: unknown) => services.log.debug('the QKD stream was not closed', { epoch }, cause));
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
    const { services, keyStreamId, initiatorNode, responderNode, keyBytes } = this.#options;
    const { signal } = this.#left;
    const epoch = this.#epoch;
    const opening = services.qkdSource
      .openQkd(
        {
          keyStreamId,
          epoch,
          sourceNode: initiatorNode,
          destinationNode: responderNode,
          keyBytes: keyBytes * this.#blockKeys,
          qkdKeyStreamId: join,
        },
        { timeoutMs: services.qkd.timeout + 1_000, signal },
      )
      .then(
        (response) => response.qkdKeyStreamId,
        (thrown: unknown) => {
          if (!signal.aborted) throw thrown;
          throw new KeyweaveError('QKD_OUT_OF_STEP', `QKD epoch ${epoch} has been left`);
        },
      );
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

/** Keys that one stream needs of its QKD link. */
export interface QkdNeed {
  readonly link: QkdStream;
  readonly count: number;
}

/**
 * Reads the next keys of several streams in one call. For each either its
 * keys end to end (fewer than needed when the key manager ran dry; the caller
 * wipes them) or why there are none.
 */
export async function fetchTogether(
  services: NodeServices,
  needs: readonly QkdNeed[],
): Promise<(Buffer | KeyweaveError)[]> {
  if (needs.length === 0) return [];
  const handles = await Promise.all(
    needs.map(({ link }) => link.opened().catch((error: unknown) => KeyweaveError.from(error))),
  );
  const asked: QkdFetch[] = [];
  needs.forEach(({ link, count }, i) => {
    const handle = handles[i];
    if (typeof handle === 'string') asked.push(link.fetchOf(handle, count));
  });
  let results: readonly (Buffer | KeyweaveError)[];
  let blockBytes = 0;
  try {
    ({ results, blockBytes } = await fetchAll(services, asked));
  } catch (thrown) {
    results = asked.map(() => KeyweaveError.from(thrown));
  }
  let next = 0;
  return needs.map(({ link }, i) => {
    const handle = handles[i];
    if (typeof handle !== 'string') return handle as KeyweaveError;
    const result = results[next++] as Buffer | KeyweaveError;
    link.noteBlockBytes(blockBytes);
    if (Buffer.isBuffer(result)) link.advance(result);
    return result;
  });
}

async function fetchAll(
  services: NodeServices,
  fetches: readonly QkdFetch[],
): Promise<{ results: (Buffer | KeyweaveError)[]; blockBytes: number }> {
  if (fetches.length === 0) return { results: [], blockBytes: 0 };
  const { results, blockBytes } = await services.qkdSource.fetchKeys(
    { fetches: [...fetches] },
    { timeoutMs: services.qkd.timeout + 1_000 },
  );
  if (results.length !== fetches.length) {
    throw new KeyweaveError('INTERNAL', 'qkd-source answered for a wrong number of streams');
  }
  return {
    results: results.map(({ keys, failure }) => (failure ? errorOf(failure) : asBuffer(keys))),
    blockBytes,
  };
}
