import type { NodeConfig } from '#common/config/node-config.ts';

/** What the streams with one peer, as the next node on their way, may take of this node at most. */
export interface PeerQuotas {
  readonly streams: number;
  /** Streams that the peer has placed here and that no application has joined yet. */
  readonly offers: number;
  /** Bytes of undelivered keys. */
  readonly heldBytes: number;
}

/**
 * The quotas of a node with `peers` trusted peers. By default each has its
 * even part of max_streams, so that all of them together cannot keep one out,
 * and no more than half of that part without an application of this node.
 */
export function peerQuotas(limits: NodeConfig['limits'], peers: number): PeerQuotas {
  const streams =
    limits.max_streams_per_peer ?? Math.max(1, Math.floor(limits.max_streams / Math.max(1, peers)));
  return {
    streams,
    offers: limits.max_open_offers_per_peer ?? Math.ceil(streams / 2),
    heldBytes: limits.max_held_bytes_per_peer,
  };
}
