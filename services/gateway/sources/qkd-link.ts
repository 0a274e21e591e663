import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from './node-services.ts';

/** How long the initiator waits for a KSID before it lets the other end open by URIs alone. */
const KSID_PATIENCE_MS = 250;

export interface QkdLinkOptions {
  services: NodeServices;
  keyStreamId: Buffer;
  initiatorNode: string;
  responderNode: string;
  keyBytes: number;
}

/**
 * One end's QKD stream towards its key manager. Both ends read the same
 * sequence; whenever they may have lost step the initiator raises the epoch,
 * and each epoch is a stream of its own at the key managers.
 */
export class QkdLink {
  readonly #options: QkdLinkOptions;
  #epoch = 0;
  /** Keys read in this epoch. */
  #position = 0n;
  #opening: Promise<string> | undefined;
  #qkdKeyStreamId = '';

  constructor(options: QkdLinkOptions) {
    this.#options = options;
  }

  get epoch(): number {
    return this.#epoch;
  }

  get position(): bigint {
    return this.#position;
  }

  /** The key manager's stream id where the two ends share one, else empty. */
  get qkdKeyStreamId(): string {
    return this.#qkdKeyStreamId;
  }

  /**
   * Initiator: opens where needed and names the stream and position for the
   * other end. A key manager that answers only when the other end has come
   * too is given a moment; then the other end is told to open by URIs.
   *
   * @throws KeyweaveError QKD_UNAVAILABLE and others when the key manager refuses at once.
   */
  async reference(): Promise<QkdReference> {
    const opening = this.#open('');
    const { join } = this.#options.services.qkd;
    if (join === 'ksid') this.#qkdKeyStreamId = await opening;
    else if (join === 'auto') {
      const known = await withPatience(opening, KSID_PATIENCE_MS);
      if (known !== undefined) this.#qkdKeyStreamId = known;
    }
    return { epoch: this.#epoch, qkdKeyStreamId: this.#qkdKeyStreamId, position: this.#position };
  }

  /** Responder: moves to the initiator's epoch and checks that both ends are in step. */
  async follow(reference: QkdReference): Promise<void> {
    if (reference.epoch < this.#epoch) {
      throw new KeyweaveError('QKD_OUT_OF_STEP', `QKD epoch ${reference.epoch} has been left`);
    }
    if (reference.epoch > this.#epoch) {
      this.close();
      this.#epoch = reference.epoch;
    }
    if (reference.position !== this.#position) {
      throw new KeyweaveError(
        'QKD_OUT_OF_STEP',
        `the other end reads QKD key ${reference.position}, this one ${this.#position}`,
      );
    }
    this.#qkdKeyStreamId = reference.qkdKeyStreamId;
    await this.#open(reference.qkdKeyStreamId);
  }

  /** The next `count` keys end to end, fewer when the key manager ran dry; the caller wipes them. */
  async fetch(count: number): Promise<Buffer> {
    const { services, keyStreamId, keyBytes } = this.#options;
    const ownStream = await this.#open(this.#qkdKeyStreamId);
    const { keys } = await services.qkdSource.fetchKeys(
      {
        keyStreamId,
        epoch: this.#epoch,
        position: this.#position,
        count,
        keyBytes,
        qkdKeyStreamId: ownStream,
      },
      { timeoutMs: services.qkd.timeout + 1_000 },
    );
    this.#position += BigInt(Math.floor(keys.length / keyBytes));
    return keys;
  }

  /** Initiator: leaves this epoch, since the ends may have lost step. */
  renew(): void {
    this.close();
    this.#epoch += 1;
  }

  /** Closes the stream at the key manager; safe to repeat. */
  close(): void {
    const opening = this.#opening;
    const epoch = this.#epoch;
    this.#opening = undefined;
    this.#position = 0n;
    this.#qkdKeyStreamId = '';
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
          keyBytes,
          qkdKeyStreamId: join,
        },
        { timeoutMs: services.qkd.timeout + 1_000 },
      )
      .then((response) => response.qkdKeyStreamId);
    this.#opening = opening;
    opening.catch(() => {
      if (this.#opening === opening) this.#opening = undefined;
    });
    return opening;
  }
}

async function withPatience<T>(work: Promise<T>, patienceMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, patienceMs, undefined);
  });
  try {
    return await Promise.race([work, patience]);
  } finally {
    clearTimeout(timer);
  }
}
