import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { KeyKind } from './key-kinds.ts';
import type { Taker } from './master-stream.ts';
import type { MasterStreams, Wanted } from './master-streams.ts';
import type { Party } from './parties.ts';
import type { TakenKey } from './taken-keys.ts';

/** Calls of one party that wait for keys at most. */
const MAX_WAITING = 64;

/** Who calls. */
export interface Caller extends Omit<Taker, 'party'> {
  readonly party: Party;
}

/** What the calls ask of the streams of masters. */
export type KeyTaker = Pick<MasterStreams, 'take' | 'putBack'>;

/** Takes keys for calls, of which not too many of one party may wait. */
export class WaitingCalls {
  readonly #kind: KeyKind;
  readonly #masters: KeyTaker;
  readonly #waiting = new Map<Party, number>();

  constructor(kind: KeyKind, masters: KeyTaker) {
    this.#kind = kind;
    this.#masters = masters;
  }

  /**
   * Takes keys of which the caller is the master, at once where they are ready.
   * What comes for one that has gone away goes to the next one.
   *
   * @throws KeyweaveError LIMIT_EXCEEDED where too many of its calls wait, and as MasterStreams.take.
   */
  take(wanted: Wanted, caller: Caller): TakenKey[] | Promise<TakenKey[]> {
    const { party, address, signal } = caller;
    if ((this.#waiting.get(party) ?? 0) >= MAX_WAITING) {
      const detail = `${MAX_WAITING} calls of this ${this.#kind.party} wait for keys`;
      throw new KeyweaveError('LIMIT_EXCEEDED', detail);
    }
    const taken = this.#masters.take(wanted, { party: party.id, address, signal });
    return taken instanceof Promise ? this.#waits(caller, wanted, taken) : taken;
  }

  async #waits({ party, signal }: Caller, wanted: Wanted, taken: Promise<TakenKey[]>): Promise<TakenKey[]> {
    this.#waiting.set(party, (this.#waiting.get(party) ?? 0) + 1);
    try {
      const keys = await taken;
      if (!signal.aborted) return keys;
      for (const key of keys) this.#masters.putBack(wanted, key);
      throw new KeyweaveError('TIMEOUT', `the ${this.#kind.party} has gone away`);
    } finally {
      const left = (this.#waiting.get(party) as number) - 1;
      if (left === 0) this.#waiting.delete(party);
      else this.#waiting.set(party, left);
    }
  }
}
