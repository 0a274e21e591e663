import { errorOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { waitFor } from '#common/lifecycle/wait-for.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { QkdFetch } from '#gen/keyweave/v1/qkd_source.ts';
import type { NodeServices } from './node-services.ts';

/** How long the initiator waits for a KSID before it lets the other end open by URIs alone. */
const KSID_PATIENCE_MS = 250;

/** Most QKD keys in one block: 2 KiB of key at a time. */
const MAX_BLOCK_KEYS = 64;

/** Longest name that the other end may give of its key manager's stream: a UUID, or whatever that makes. */
const MAX_ID_CHARACTERS = 256;

export interface QkdLinkOptions {
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
export class QkdLink {
  readonly #options: QkdLinkOptions;
  #epoch = 0;
  #blockKeys = 1;
  /** Blocks read in this epoch. */
  #position = 0n;
  /** Initiator: blocks that agreed batches take, read or not. */
  #reserved = 0n;
  #opening: Promise<string> | undefined;
  /** This end's stream at its key manager, once open. */
  #handle: string | undefined;
  /** The key manager's stream id where the two ends share one, else empty. */
  #shared = '';

  constructor(options: QkdLinkOptions) {
    this.#options = options;
    this.#epoch = options.firstEpoch ?? 0;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get blockKeys(): number {
    return this.#blockKeys;
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
    if (reference.qkdKeyStreamId.length > MAX_ID_CHARACTERS) {
      throw new KeyweaveError('BAD_REQUEST', `qkd_key_stream_id is over ${MAX_ID_CHARACTERS} characters`);
    }
    if (epoch < this.#epoch) throw new KeyweaveError('QKD_OUT_OF_STEP', `QKD epoch ${epoch} has been left`);
    if (blockKeys < 1 || blockKeys > MAX_BLOCK_KEYS) {
      throw new KeyweaveError('BAD_REQUEST', `block_keys must be 1 to ${MAX_BLOCK_KEYS}, not ${blockKeys}`);
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

  /** Closes the stream at the key manager; safe to repeat. */
  close(): void {
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
    const { services, keyStreamId, initiatorNode, responderNode, keyBytes } = this.#options;
    const opening = services.qkdSource
      .openQkd(
        {
          keyStreamId,
          epoch: this.#epoch,
          sourceNode: initiatorNode,
          destinationNode: responderNode,
          keyBytes: keyBytes * this.#blockKeys,
          qkdKeyStreamId: join,
        },
        { timeoutMs: services.qkd.timeout + 1_000 },
      )
      .then((response) => response.qkdKeyStreamId);
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
  readonly link: QkdLink;
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
  try {
    results = await fetchAll(services, asked);
  } catch (thrown) {
    results = asked.map(() => KeyweaveError.from(thrown));
  }
  let next = 0;
  return needs.map(({ link }, i) => {
    const handle = handles[i];
    if (typeof handle !== 'string') return handle as KeyweaveError;
    const result = results[next++] as Buffer | KeyweaveError;
    if (Buffer.isBuffer(result)) link.advance(result);
    return result;
  });
}

async function fetchAll(
  services: NodeServices,
  fetches: readonly QkdFetch[],
): Promise<(Buffer | KeyweaveError)[]> {
  if (fetches.length === 0) return [];
  const { results } = await services.qkdSource.fetchKeys(
    { fetches: [...fetches] },
    { timeoutMs: services.qkd.timeout + 1_000 },
  );
  if (results.length !== fetches.length) {
    throw new KeyweaveError('INTERNAL', 'qkd-source answered for a wrong number of streams');
  }
  return results.map(({ keys, failure }) => (failure ? errorOf(failure) : keys));
}
