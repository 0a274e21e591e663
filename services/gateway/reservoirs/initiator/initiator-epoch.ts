import { errorOf } from '#common/errors/failure.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLink } from '../../clients/peer-link.ts';
import type { QkdSequence } from '../../clients/qkd-sequence.ts';
import { KeyRuns } from '../key-runs.ts';
import type { ReservoirTools } from '../reservoir-tools.ts';

/** How long the key manager may take to name its stream before the other end is told to open by URIs alone. */
const KSID_PATIENCE_MS = 250;

/** One epoch at the initiator's end: its stream at the key manager, and what was read of it and not granted yet. */
export class InitiatorEpoch {
  readonly sequence: QkdSequence;
  readonly held = new KeyRuns();
  readonly #tools: Pick<ReservoirTools, 'join' | 'clock'>;
  readonly #link: Pick<PeerLink, 'produce'>;
  /** The key manager's id where both ends share one, else empty. */
  #shared = '';
  #ready = false;

  constructor(
    sequence: QkdSequence,
    tools: Pick<ReservoirTools, 'join' | 'clock'>,
    link: Pick<PeerLink, 'produce'>,
  ) {
    this.sequence = sequence;
    this.#tools = tools;
    this.#link = link;
  }

  /** Whether its stream is open at both ends. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Names the `count` keys from number `position` on for the other end, those below `burned` being nobody's any more. */
  reference(position: number, burned: number, count = 0): QkdReference {
    const { name, read } = this.sequence;
    this.sequence.forgetNames(burned);
    return {
      epoch: name.epoch,
      qkdKeyStreamId: this.#shared,
      position: BigInt(position),
      blockKeys: name.blockKeys,
      reservoir: name.reservoir,
      burned: BigInt(burned),
      read: BigInt(read),
      keyNames: this.sequence.namesOf(position, count),
    };
  }

  /**
   * Opens the stream at both ends. A key manager that answers only when the
   * other end has come too is given a moment; then the other end is told to
   * open by URIs. Gives the keys of one block that the other end's key manager
   * is known to give, 0 for no news.
   *
   * @throws KeyweaveError why it cannot be opened, here or there.
   */
  async prepare(): Promise<number> {
    const { join, clock } = this.#tools;
    const opening = this.sequence.open('');
    opening.catch(() => undefined);
    const early =
      join === 'ksid' ? await opening : await waitFor(opening, KSID_PATIENCE_MS, undefined, clock);
    this.#shared = join === 'uris' ? '' : (early ?? '');
    const { qkd } = await this.#link.produce({ offers: [], confirmations: [], qkd: this.reference(0, 0) });
    if (qkd?.failure) throw errorOf(qkd.failure);
    await opening;
    this.#ready = true;
    return qkd?.blockKeys ?? 0;
  }

  /** Wipes what is held and closes the stream; how many keys there were. */
  end(): number {
    const burned = this.held.wipe();
    this.sequence.end();
    return burned;
  }
}
