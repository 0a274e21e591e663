import type { Clock } from '#common/time/clock.ts';
import type { Delivered, KeyDelivery, StreamDirectory } from '../../delivery/key-delivery.ts';
import type { ListenerStreams } from '../../delivery/listener-streams.ts';
import type { Owner } from '../../streams/owner.ts';
import { KeyIds } from './key-ids.ts';
import type { KeyKind } from './key-kinds.ts';
import { KeptKeys, type TakenKey } from './taken-keys.ts';

/** Keys of one stream that were taken for a request that failed, and are the next one's, at most. */
const MAX_RETURNED = 1_024;

/** How long they are; well below the time for which the slave's end keeps its own longer than this one. */
const RETURNED_MS = 30_000;

/** What the listener asks of the gateway. */
export type Delivery = KeyDelivery &
  Pick<StreamDirectory, 'status'> &
  Pick<ListenerStreams, 'takeOffers' | 'wipeOlder'>;

/** For whom keys are taken. */
export interface Taker {
  /** The master's ID. */
  readonly party: string;
  /** Where it calls from. */
  readonly address: string;
  /** Fires when it has gone away. */
  readonly signal: AbortSignal;
}

/** The master's end of a stream that is open: gives its keys out, each with its key_ID. */
export class MasterStream {
  readonly ksid: string;
  readonly #owner: Owner;
  readonly #delivery: Delivery;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #ids: KeyIds;
  readonly #returned = new KeptKeys<string, TakenKey>(MAX_RETURNED);
  #isOver = false;

  constructor(ksid: string, kind: KeyKind, delivery: Delivery, clock: Pick<Clock, 'monotonicMs'>) {
    this.#owner = kind.owner;
    this.ksid = ksid;
    this.#delivery = delivery;
    this.#clock = clock;
    this.#ids = new KeyIds(ksid, kind);
  }

  /** Keys that are ready; 0 where the stream is over. */
  get readyKeys(): number {
    return (this.#status()?.readyKeys ?? 0) + this.#returned.size;
  }

  /** Whether the slave's end is gone, or this one: what is here no slave could fetch. */
  get isOver(): boolean {
    return this.#status()?.peerApplication !== 'joined';
  }

  /**
   * So many keys, at once where they are ready; all of them or none.
   *
   * @throws KeyweaveError as KeyDelivery.getKey, at once or as the promise.
   */
  take(count: number, taker: Taker): TakenKey[] | Promise<TakenKey[]> {
    const { address, signal } = taker;
    const request = {
      ksid: this.ksid,
      owner: { identity: this.#owner.identity, address, onBehalfOf: taker.party },
      signal,
    };
    const taken: TakenKey[] = [];
    const coming: Promise<TakenKey>[] = [];
    try {
      while (taken.length + coming.length < count) {
        const key = this.#returned.takeFirst() ?? this.#delivery.getKey(request);
        if (key instanceof Promise) coming.push(key.then(this.#named));
        else taken.push('id' in key ? key : this.#named(key));
      }
    } catch (thrown) {
      coming.push(Promise.reject(thrown));
    }
    return coming.length === 0 ? taken : this.#whenAllAreThere(taken, coming);
  }

  /** Wipes the keys that are too old to be given out. */
  wipeOlder(ageMs: number): void {
    this.#returned.wipeEnded(this.#clock.monotonicMs());
    if (this.#status()) this.#delivery.wipeOlder({ ksid: this.ksid, owner: this.#owner }, ageMs);
  }

  /** Ends it; what the slave's end holds stays there until it is fetched, or its time is over. */
  close(): void {
    this.#isOver = true;
    this.#returned.wipeAll();
    try {
      this.#delivery.close({ ksid: this.ksid, owner: this.#owner });
    } catch {
      // It has ended already.
    }
  }

  #named = ({ index, key }: Delivered): TakenKey => ({ id: this.#ids.of(index), key });

  async #whenAllAreThere(taken: TakenKey[], coming: Promise<TakenKey>[]): Promise<TakenKey[]> {
    const settled = await Promise.allSettled(coming);
    for (const each of settled) if (each.status === 'fulfilled') taken.push(each.value);
    const failed = settled.find((each) => each.status === 'rejected');
    if (!failed) return taken;
    for (const each of taken) this.putBack(each);
    throw failed.reason;
  }

  /** A key that was taken and given to nobody. */
  putBack(taken: TakenKey): void {
    if (this.#isOver) taken.key.wipe();
    else this.#returned.keep(taken.id, taken, this.#clock.monotonicMs() + RETURNED_MS);
  }

  #status() {
    if (this.#isOver) return undefined;
    try {
      return this.#delivery.status({ ksid: this.ksid, owner: this.#owner });
    } catch {
      this.#isOver = true;
      this.#returned.wipeAll();
      return undefined;
    }
  }
}
