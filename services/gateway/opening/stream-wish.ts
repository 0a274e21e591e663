import type { PolicyLayer } from '#common/policy/policy-layers.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { Owner } from '../streams/owner.ts';
import type { StreamTerms } from '../streams/stream-terms.ts';

/** What an application wants of a stream. */
export interface StreamWish {
  readonly terms: StreamTerms;
  readonly qos: Qos;
  /** The KSID that it names, if it names one. */
  readonly ksid: string | undefined;
  /** app: wait for the peer's application; node: the peer's node is enough. */
  readonly presence: 'app' | 'node';
  readonly timeoutMs: number;
  /** What the application's listener says of sources, beside the node's policy. */
  readonly policy?: PolicyLayer | undefined;
  /**
   * Looks at what another node offers, and narrows what a chunk of it may lack
   * to what the application's listener lets be.
   *
   * @throws KeyweaveError that keeps the application from having it.
   */
  readonly judge?: (offer: KeyStream) => void;
  /** Who will have the stream. */
  readonly owner: Owner;
  /** Fires when the application has gone away. */
  readonly signal: AbortSignal;
}
