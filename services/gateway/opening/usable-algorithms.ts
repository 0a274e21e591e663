import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { chunkBytesOf } from '../production/batch-limit.ts';
import { isKem, type StreamTerms } from '../streams/stream-terms.ts';

/** How long what pqc-source said is believed; a restarted one may have other engines. */
const MAX_AGE_MS = 60_000;

/**
 * Refuses algorithms that no engine of this node can do, in the engine's own
 * words. While pqc-source cannot be asked nothing is refused: the stream then
 * fails, and recovers, as any other stream does.
 *
 * @param now milliseconds of a monotonic clock.
 */
export function usableAlgorithms(client: ServiceClient<PqcSourceDefinition>, now: () => number) {
  let unavailable: Promise<Map<string, string>> | undefined;
  let fetchedMs = Number.NEGATIVE_INFINITY;

  async function fetchList(): Promise<Map<string, string>> {
    const { algorithms } = await client.listAlgorithms({}, { timeoutMs: 3_000 });
    return new Map(algorithms.map((row) => [row.slot?.algorithm ?? '', row.unavailable] as const));
  }

  function list(): Promise<Map<string, string>> {
    if (unavailable && now() - fetchedMs < MAX_AGE_MS) return unavailable;
    fetchedMs = now();
    const fetching = fetchList();
    unavailable = fetching;
    fetching.catch(() => {
      if (unavailable === fetching) unavailable = undefined;
    });
    return fetching;
  }

  return async (terms: StreamTerms): Promise<void> => {
    assertFitsMessage(terms);
    const names = new Set(terms.slots.filter(isKem).map((slot) => slot.algorithm));
    if (names.size === 0) return;
    let reasons: Map<string, string>;
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
