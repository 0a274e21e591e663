import type { SourceSlot } from '#gen/keyweave/v1/key_agreement.ts';

/** Items of one algorithm that several batches put together, so that one call serves them all. */
export interface KemGroup {
  readonly slot: SourceSlot;
  /** Items so far. */
  count: number;
}

/** Where the items of one batch's slot lie in their group. */
export interface KemShare {
  readonly group: KemGroup;
  readonly offset: number;
  readonly count: number;
}

/** Items of one call to pqc-source at most. */
export const MAX_GROUP_ITEMS = 1024;

/**
 * Puts the KEM slots of several batches together by algorithm. A group that
 * would get too large for one call is followed by another.
 */
export class KemGroups {
  readonly groups: KemGroup[] = [];
  readonly #open = new Map<string, KemGroup>();
  readonly #maxItems: (slot: SourceSlot) => number;

  /** @param maxItems most items of one call, by algorithm. */
  constructor(maxItems: (slot: SourceSlot) => number = () => MAX_GROUP_ITEMS) {
    this.#maxItems = maxItems;
  }

  /** Reserves room for `count` items of the slot's algorithm. */
  add(slot: SourceSlot, count: number): KemShare {
    let group = this.#open.get(slot.algorithm);
    if (!group || group.count + count > Math.min(MAX_GROUP_ITEMS, this.#maxItems(slot))) {
      group = { slot, count: 0 };
      this.groups.push(group);
      this.#open.set(slot.algorithm, group);
    }
    const share = { group, offset: group.count, count };
    group.count += count;
    return share;
  }
}

/** The share's items in what the group's call brought, as a view. */
export function shareOf(packed: Buffer, share: KemShare, itemBytes: number): Buffer {
  return packed.subarray(share.offset * itemBytes, (share.offset + share.count) * itemBytes);
}
