import type { KemCost } from '#common/catalogue/kems.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import { costOf } from './batch-limit.ts';

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

/** Items of one call to pqc-source at most; short calls of slow KEMs let others have their turn. */
const MAX_ITEMS: Readonly<Record<KemCost, number>> = {
  light: MESSAGE_LIMITS.kemItems.filled,
  medium: 32,
  heavy: 4,
};

/**
 * Puts the KEM slots of several batches together by algorithm. A group that
 * would get too large for one call is followed by another.
 */
export class KemGroups {
  readonly groups: KemGroup[] = [];
  readonly #open = new Map<string, KemGroup>();

  /** Reserves room for `count` items of the slot's algorithm. */
  add(slot: SourceSlot, count: number): KemShare {
    let group = this.#open.get(slot.algorithm);
    if (!group || group.count + count > maxItems(slot)) {
      group = { slot, count: 0 };
      this.groups.push(group);
      this.#open.set(slot.algorithm, group);
    }
    const share = { group, offset: group.count, count };
    group.count += count;
    return share;
  }
}

/** Most items of one call: what goes in and what comes out must fit a message. */
function maxItems(slot: SourceSlot): number {
  const largest = Math.max(slot.publicKeyBytes, slot.ciphertextBytes, slot.sharedSecretBytes);
  return Math.min(MAX_ITEMS[costOf(slot.algorithm)], Math.floor(MESSAGE_LIMITS.kemBytes.filled / largest));
}

/** The share's items in what the group's call brought, as a view. */
export function shareOf<T extends Uint8Array>(packed: T, share: KemShare, itemBytes: number): T {
  return packed.subarray(share.offset * itemBytes, (share.offset + share.count) * itemBytes) as T;
}
