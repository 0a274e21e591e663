import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { Clock } from '#common/time/clock.ts';
import type { KemClient } from '../clients/kem-client.ts';
import { chunkBytesOf } from '../production/batch-limit.ts';
import { isKem, type StreamTerms } from '../streams/stream-terms.ts';

/** How long what pqc-source said is believed; a restarted one may have other engines. */
const MAX_AGE_MS = 60_000;

/** Refuses, in words, slots that no engine of this node can do. @throws KeyweaveError UNSUPPORTED */
export type AssertUsable = (terms: StreamTerms) => Promise<void>;

/**
 * Refuses algorithms that no engine of this node can do, in the engine's own
 * words. While pqc-source cannot be asked nothing is refused: the stream then
 * fails, and recovers, as any other stream does.
 */
export function usableAlgorithms(
  kem: Pick<KemClient, 'unavailable'>,
  clock: Pick<Clock, 'monotonicMs'>,
): AssertUsable {
  let unavailable: Promise<ReadonlyMap<string, string>> | undefined;
  let fetchedMs = Number.NEGATIVE_INFINITY;

  function list(): Promise<ReadonlyMap<string, string>> {
    const now = clock.monotonicMs();
    if (unavailable && now - fetchedMs < MAX_AGE_MS) return unavailable;
    fetchedMs = now;
    const fetching = kem.unavailable();
    unavailable = fetching;
    fetching.catch(() => {
      if (unavailable === fetching) unavailable = undefined;
    });
    return fetching;
  }

  return async (terms) => {
    assertFitsMessage(terms);
    const names = new Set(terms.slots.filter(isKem).map((slot) => slot.algorithm));
    if (names.size === 0) return;
    let reasons: ReadonlyMap<string, string>;
    try {
      reasons = await list();
    } catch (error) {
      if (isReason(error, 'SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN')) return;
      throw error;
    }
    for (const name of names) {
      const why = reasons.get(name);
      if (why === undefined)
        throw new KeyweaveError('UNSUPPORTED', `pqc-source of this node does not know ${name}`);
      if (why !== '') throw new KeyweaveError('UNSUPPORTED', why);
    }
  };
}

/** Every chunk's public keys travel in one message, however large they are. */
function assertFitsMessage({ slots }: StreamTerms): void {
  const bytes = chunkBytesOf(slots);
  const most = MESSAGE_LIMITS.chunkBytes.filled;
  if (bytes > most) {
    throw new KeyweaveError(
      'UNSUPPORTED',
      `the KEMs of this list exchange ${bytes} bytes for each key and ${most} are possible; name fewer of them`,
    );
  }
}
