import type { SourcePolicyKind } from '#common/policy/policy-layers.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import { isKem, isQkd, STAND_IN, type StreamTerms } from '../stream-terms.ts';

/** A kind of sources, all of which fail together. */
export type SourceKind = SourcePolicyKind;

/** Kinds of sources that a chunk may lack; never both at once. */
export type MayLack = Readonly<Record<SourceKind, boolean>>;

export const LACKS_NOTHING: MayLack = Object.freeze({ qkd: false, pqc: false });

/**
 * What of the agreed list did not go into a chunk as it is: a source that a
 * shared_seed stood in for, or all of one kind; false = all of it went in.
 */
export type Degraded = false | 'shared_seed' | SourceKind;

/** What both say that a chunk may lack. */
export function bothLet(one: MayLack, other: MayLack): MayLack {
  return { qkd: one.qkd && other.qkd, pqc: one.pqc && other.pqc };
}

/** What a message carries of it: nothing where nothing may be lacking, as from a node that knows nothing of it. */
export function inMessage(mayLack: MayLack): { mayLack?: MayLack } {
  return mayLack.qkd || mayLack.pqc ? { mayLack } : {};
}

/** Whether a slot is of the kind that is left out. */
export function isLeftOut(slot: SourceSlot, leftOut: SourceKind | undefined): boolean {
  if (leftOut === undefined) return false;
  return leftOut === 'qkd' ? isQkd(slot) : isKem(slot);
}

/** `left_out` of the messages: slot i as bit i; 0 = none. */
export function leftOutMask({ slots }: StreamTerms, leftOut: SourceKind | undefined): number {
  return slots.reduce((mask, slot, i) => (isLeftOut(slot, leftOut) ? mask | (1 << i) : mask), 0) >>> 0;
}

/** The kind whose slots, all of them and no others, a mask of the messages names; undefined where there is none such. */
export function kindOfMask(terms: StreamTerms, mask: number): SourceKind | undefined {
  if (mask === 0) return undefined;
  return (['qkd', 'pqc'] as const).find((kind) => leftOutMask(terms, kind) === mask);
}

/**
 * The sources that a stream still has without one kind; undefined where it has
 * none of that kind, or where what is left makes no key: no source at all, or
 * fewer secrets than the method needs.
 */
export function sourcesWithout(
  { slots, method }: StreamTerms,
  kind: SourceKind,
): readonly string[] | undefined {
  const left = slots.filter((slot) => !isLeftOut(slot, kind));
  const isPossible =
    left.length < slots.length &&
    left.length >= Math.max(1, method.minDistinctSecrets) &&
    !slots.some(({ algorithm }) => algorithm === STAND_IN);
  return isPossible ? left.map(({ algorithm }) => algorithm) : undefined;
}

/** What went into a chunk, by name. */
export function sourcesOf({ slots }: StreamTerms, degraded: Degraded): string[] {
  if (degraded === 'shared_seed') {
    const isNamed = slots.some(({ algorithm }) => algorithm === STAND_IN);
    return slots.map((slot) => (!isNamed && isQkd(slot) ? STAND_IN : slot.algorithm));
  }
  return slots.filter((slot) => !isLeftOut(slot, degraded || undefined)).map(({ algorithm }) => algorithm);
}

/** Whether a chunk that is so may still go to the application. */
export function mayBe(degraded: Degraded, leeway: { standIn: boolean; mayLack: MayLack }): boolean {
  if (degraded === false) return true;
  return degraded === 'shared_seed' ? leeway.standIn : leeway.mayLack[degraded];
}
