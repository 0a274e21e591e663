import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { QkdGrant } from '../reservoirs/initiator/qkd-grant.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { type Degraded, isLeftOut, type SourceKind } from '../streams/policy/lacking.ts';
import type { Producer } from '../streams/producer.ts';
import { countQkdSlots, isQkd } from '../streams/stream-terms.ts';
import type { KemGroups, KemShare } from './kem-groups.ts';

/** Chunks [first, first + count) of one stream, on their way through a round at one of its ends. */
export interface Batch<P extends Producer = Producer> {
  readonly producer: P;
  readonly stream: KeyStream;
  readonly first: number;
  readonly count: number;
  /** Undefined where no slot takes QKD keys. */
  readonly qkd: QkdReference | undefined;
  /** Initiator: the QKD keys that `qkd` names, until both ends have agreed. */
  readonly grant?: QkdGrant | undefined;
  /** Slot that a shared_seed stands in for; undefined = none. */
  readonly standIn: number | undefined;
  /** Kind of sources that it is made without; absent = none. */
  readonly leftOut?: SourceKind | undefined;
}

/** What of the agreed sources did not go into a batch as it is. */
export function degradedOf({ standIn, leftOut }: Pick<Batch, 'standIn' | 'leftOut'>): Degraded {
  return standIn === undefined ? (leftOut ?? false) : 'shared_seed';
}

/** Slots of a batch that take QKD keys. */
export function qkdSlotsOf({
  stream,
  standIn,
  leftOut,
}: Pick<Batch, 'stream' | 'standIn' | 'leftOut'>): number {
  return countQkdSlots(stream.terms, standIn, leftOut);
}

/** `degraded_slot` of the messages: the slot plus one, 0 = none. */
export function standInOf(degradedSlot: number): number | undefined {
  return degradedSlot === 0 ? undefined : degradedSlot - 1;
}

export function degradedSlotOf(standIn: number | undefined): number {
  return standIn === undefined ? 0 : standIn + 1;
}

/** Where the items of each slot lie among those of its KEM; undefined for QKD, what something stands in for and what is left out. */
export type SlotShares = readonly (KemShare | undefined)[];

/** Puts a batch's KEM slots together with those of the others of its round. */
export function shareKems(groups: KemGroups, { stream, standIn, leftOut }: Batch, count: number): SlotShares {
  return stream.terms.slots.map((slot, i) =>
    isQkd(slot) || i === standIn || isLeftOut(slot, leftOut) ? undefined : groups.add(slot, count),
  );
}
