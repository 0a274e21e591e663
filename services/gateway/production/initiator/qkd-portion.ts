import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { InitiatorReservoir } from '../../reservoirs/initiator/initiator-reservoir.ts';
import type { QkdGrant, QkdTaker } from '../../reservoirs/initiator/qkd-grant.ts';
import type { Reservoirs } from '../../reservoirs/reservoirs.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import { countQkdSlots } from '../../streams/stream-terms.ts';

/** What a stream's producer says and hears of its QKD keys. */
export interface QkdDemand {
  /** Chunks that it would offer if it had the keys. */
  readonly lacking: number;
  readonly urgent: boolean;
  /** Something stands in for keys that cannot be had. */
  readonly replaceable: boolean;
  readonly weight: number;
  /** Others get keys: it may ask, too, for what it would lack soon. */
  invited(): void;
  /** There are keys for the next batch. */
  granted(): void;
  /** There are none. */
  failed(error: KeyweaveError): void;
}

/** One stream's part of its reservoir: the keys of its next batch, while it waits for its round. */
export class QkdPortion implements QkdTaker {
  readonly qkdSlots: number;
  readonly #stream: KeyStream;
  readonly #reservoirs: Reservoirs;
  readonly #reservoir: InitiatorReservoir;
  readonly #demand: QkdDemand;
  readonly #nowMs: () => number;
  #grant: QkdGrant | undefined;
  #stopped = false;

  constructor(stream: KeyStream, reservoirs: Reservoirs, demand: QkdDemand, nowMs: () => number) {
    this.#stream = stream;
    this.#reservoirs = reservoirs;
    this.#reservoir = reservoirs.initiator(stream);
    this.#demand = demand;
    this.#nowMs = nowMs;
    this.qkdSlots = countQkdSlots(stream.terms, undefined);
    this.#reservoir.join(this);
  }

  /** Chunks for which there are keys. */
  get chunks(): number {
    return this.#grant ? keysOf(this.#grant) / this.qkdSlots : 0;
  }

  get qkdWanted(): number {
    return this.#grant ? 0 : this.#demand.lacking * this.qkdSlots;
  }

  get urgent(): boolean {
    return this.#demand.urgent;
  }

  get weight(): number {
    return this.#demand.weight;
  }

  /** Asks for keys, where there are none; `granted` or `failed` follows. */
  ask(): void {
    if (!this.#grant) this.#reservoir.ask(this);
  }

  /** Has the way to the keys opened, though none are asked for yet. */
  warm(): void {
    this.#reservoir.warm();
  }

  invite(): void {
    if (!this.#grant && !this.#reservoir.isAskedBy(this)) this.#demand.invited();
  }

  granted(grant: QkdGrant): void {
    this.#grant = grant;
    this.#demand.granted();
  }

  qkdFailed(error: KeyweaveError): void {
    this.#demand.failed(error);
  }

  get replaceable(): boolean {
    return this.#demand.replaceable;
  }

  get promised(): number {
    const { minBps, keyChunkSize } = this.#stream.qos;
    return (minBps * this.qkdSlots) / (8 * keyChunkSize);
  }

  qkdScarce(why: KeyweaveError): void {
    this.#stream.depth.noteScarcity(this.#nowMs());
    this.#stream.noteFailure(why);
  }

  /** The keys of a batch of `count` chunks, of which there are enough, and their name for the other end. */
  take(count: number): { grant: QkdGrant; qkd: QkdReference } {
    const whole = this.#grant;
    if (!whole) throw new TypeError('a batch takes QKD keys that were granted');
    this.#grant = undefined;
    const grant = this.#reservoir.trim(whole, count * this.qkdSlots);
    return { grant, qkd: this.#reservoir.reference(grant) };
  }

  /** Others may have the keys; safe to repeat. */
  putBack(): void {
    const grant = this.#grant;
    this.#grant = undefined;
    if (grant) this.#reservoir.giveBack(grant);
  }

  /** The other end has made `count` chunks of a batch: their keys, which the caller wipes. */
  use(grant: QkdGrant, count: number): Buffer {
    return this.#reservoir.use(grant, count * this.qkdSlots);
  }

  /** A batch has come to nothing; the other end has taken so many of its keys. */
  drop(grant: QkdGrant, taken: number, why: string): void {
    if (taken === 0) this.#reservoir.giveBack(grant);
    else this.#reservoir.burn(grant, Math.min(taken, keysOf(grant)), why);
  }

  /** The two ends may have lost step in the epoch of the grant. */
  lost(grant: QkdGrant, error: KeyweaveError): void {
    this.#reservoir.lost(grant, error);
  }

  succeeded(): void {
    this.#reservoir.succeeded();
  }

  notePeerBlocks(blockKeys: number): void {
    this.#reservoir.notePeerBlocks(blockKeys);
  }

  /** The stream is over; safe to repeat. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.putBack();
    this.#reservoir.leave(this);
    this.#reservoirs.leaveInitiator(this.#stream, this.#reservoir);
  }
}

/** QKD keys of a grant. */
export function keysOf({ keys }: QkdGrant): number {
  return keys.length / QKD_SECRET_BYTES;
}
