import type { Secret } from '#common/crypto/secret.ts';

/** The seeds agreed beforehand with other nodes (`shared_seed` of trusted_peers_info.json). */
export interface SharedSeeds {
  /** The seed agreed with a node, where there is one; lent. */
  of(node: string): Secret | undefined;
}
