import type { Owner } from '../streams/owner.ts';

/**
 * Whether a caller may use a stream of `owner`: on a listener that
 * authenticates its applications whoever opened it, and nobody else; on one
 * that does not, whoever knows the KSID of a stream that has no identity's
 * name on it.
 */
export function mayUse(owner: Owner | undefined, caller: Owner): boolean {
  return owner !== undefined && owner.identity === caller.identity;
}
