import type { TLSSocket } from 'node:tls';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { goneSignal } from '../gone-signal.ts';
import type { KeyKind } from './key-kinds.ts';
import type { Taker } from './master-stream.ts';
import type { MasterStreams, Wanted } from './master-streams.ts';
import type { Party } from './parties.ts';
import type { PartyQuotas } from './party-quotas.ts';
import type { TakenKey } from './taken-keys.ts';

/** Who calls. */
export interface Caller extends Omit<Taker, 'party'> {
  readonly party: Party;
}

/** Who calls on a connection that is `party`'s; undefined for a stranger, of whom `stranger` is told. */
export function callerOn(
  socket: TLSSocket,
  party: Party | undefined,
  stranger: (address: string) => void,
): Caller | undefined {
  const address = `${socket.remoteAddress ?? 'gone'}:${socket.remotePort ?? 0}`;
  if (party) return { party, address, signal: goneSignal(socket) };
  stranger(address);
  return undefined;
}

/** What the calls ask of the streams of masters. */
export type KeyTaker = Pick<MasterStreams, 'take' | 'putBack'>;

/** What they may be given. */
export type Quotas = Pick<PartyQuotas, 'given' | 'assertMayWait' | 'waits' | 'told'>;

/** Takes keys for calls, of which not too many of one party may wait, nor bring more than its quota. */
export class WaitingCalls {
  readonly #kind: KeyKind;
  readonly #masters: KeyTaker;
  readonly #quotas: Quotas;

  constructor(kind: KeyKind, masters: KeyTaker, quotas: Quotas) {
    this.#kind = kind;
    this.#masters = masters;
    this.#quotas = quotas;
  }

  /**
   * Takes keys of which the caller is the master, at once where they are ready.
   * What comes for one that has gone away goes to the next one.
   *
   * @throws KeyweaveError LIMIT_EXCEEDED where too many of its calls wait, INSUFFICIENT_KEY
   *   where it has had too many keys lately, and as MasterStreams.take.
   */
  take(wanted: Wanted, caller: Caller): TakenKey[] | Promise<TakenKey[]> {
    const { party, address, signal } = caller;
    this.#quotas.assertMayWait(caller);
    return this.#quotas.given(caller, wanted.count, () => {
      const taken = this.#masters.take(wanted, { party: party.id, address, signal });
      if (!(taken instanceof Promise)) return taken;
      return this.#quotas.waits(caller, this.#unlessGone(taken, wanted, signal));
    });
  }

  async #unlessGone(taken: Promise<TakenKey[]>, wanted: Wanted, signal: AbortSignal): Promise<TakenKey[]> {
    const keys = await taken;
    if (!signal.aborted) return keys;
    for (const key of keys) this.#masters.putBack(wanted, key);
    throw new KeyweaveError('TIMEOUT', `the ${this.#kind.party} has gone away`);
  }
}
