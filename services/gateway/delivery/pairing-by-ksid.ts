import { isReason } from '#common/errors/keyweave-error.ts';
import type { Clock } from '#common/time/clock.ts';
import { pause } from '#common/time/wait-for.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamRole } from '../streams/producer.ts';

/** How often the end that leads offers a stream again whose KSID the other end was opening, too. */
const RETRIES = 20;

const RETRY_MS = 100;

export interface PairingOptions {
  readonly nodeUuid: string;
  readonly peer: string;
  readonly ksid: string;
  /** The stream of that KSID that this end holds by now. */
  held(): KeyStream | undefined;
  /** Opens it in that role. */
  open(role: StreamRole): Promise<KeyStream>;
  /** Fires when the application has gone away. */
  readonly signal: AbortSignal;
  readonly clock: Pick<Clock, 'after'>;
}

/** URIs of a stream that its KSID alone names, which both nodes derive alike. */
export function urisOf(ksid: string, initiator: string, responder: string) {
  return { source: `hybrid://${ksid}@${initiator}`, destination: `hybrid://${ksid}@${responder}` };
}

/**
 * Opens a stream that its KSID alone names: joins the other end's offer where
 * that is here already, else offers it. Where both ends offer at the same
 * time, the one with the lower UUID leads.
 *
 * @throws KeyweaveError as the opening in either role.
 */
export async function openByKsid(options: PairingOptions): Promise<KeyStream> {
  const { nodeUuid, peer, held, open, signal, clock } = options;
  if (held()?.role === 'responder') return open('responder');
  for (let left = RETRIES; ; left--) {
    try {
      return await open('initiator');
    } catch (error) {
      // In use at this end, or gone: nothing that the other end could change.
      if (!isReason(error, 'KSID_IN_USE') || held() || left === 0 || signal.aborted) throw error;
    }
    if (nodeUuid > peer) return open('responder');
    await pause(RETRY_MS, signal, clock);
    if (held()?.role === 'responder') return open('responder');
  }
}
