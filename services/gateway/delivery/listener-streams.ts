import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { OfferTaker } from '../opening/waiting-applications.ts';
import type { Owner } from '../streams/owner.ts';
import type { Close } from './key-delivery.ts';

export { LISTENER_NAME, type OfferedStream, type OfferTaker } from '../opening/waiting-applications.ts';

/**
 * Streams that listeners hold by themselves, for applications that open none
 * (ETSI GS QKD 014): the URIs of both ends name them `LISTENER_NAME…`, which
 * no application may.
 */
export interface ListenerStreams {
  /**
   * Has a listener of this node take what peers' listeners offer it, at once.
   *
   * @returns what ends that; streams that it has stay.
   */
  takeOffers(taker: OfferTaker): () => void;

  /**
   * Wipes the unread keys of a stream that both ends had confirmed more than
   * `ageMs` ago, milliseconds.
   *
   * @throws KeyweaveError UNKNOWN_STREAM.
   */
  wipeOlder(request: Close, ageMs: number): void;

  /** A listener has refused a key by itself, which is counted and logged as what is refused here. */
  refused(owner: Owner, error: KeyweaveError): void;
}
