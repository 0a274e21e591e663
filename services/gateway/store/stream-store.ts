import type { HeldBytes } from '../streams/held/held-bytes.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { EndedStreams } from './ended-streams.ts';
import type { PeerQuotas } from './peer-quotas.ts';

/**
 * Which key streams this gateway has, whose they are, and which have ended a
 * while ago. What waits for keys stays with the streams. A contract suite
 * (test/contract) says what every implementation must do.
 */
export interface StreamStore<S extends KeyStream = KeyStream> {
  /** Streams that this node holds at most. */
  readonly maxStreams: number;
  /** What the streams with one next node may take at most. */
  readonly quotas: PeerQuotas;
  /** Those that have ended here, or elsewhere as far as is known. */
  readonly ended: EndedStreams;
  /** Streams held. */
  readonly size: number;

  get(ksid: string): S | undefined;
  /**
   * Holds a stream until `remove`, and its TTL begins.
   *
   * @throws KeyweaveError KSID_IN_USE, or LIMIT_EXCEEDED naming the limit.
   */
  add(stream: S): void;
  /** Forgets this very stream, whoever ends it; does nothing for another one of the same KSID. */
  remove(stream: S): void;
  /** Those held at this moment. */
  all(): Iterable<S>;
  /** The bytes of key that are held for the streams with a next node; always the same object for it. */
  heldFor(nextHop: string): HeldBytes;
  /** Calls `act` with each stream whose TTL has run out, for it to end and remove the stream; there is one such act. */
  whenExpired(act: (stream: S) => void): void;
}
