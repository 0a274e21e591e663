import { z } from 'zod';
import { Secret } from '#common/crypto/secret.ts';
import { addressField, uuidField } from './fields.ts';

const peerEntry = z.strictObject({
  /** Agreed beforehand; makes the stand-in for a missing source where the policy allows it. */
  shared_seed: z
    .string()
    .transform((text) => new Secret(Buffer.from(text, 'utf8')))
    .optional(),
  /** Where the peer's broker listens. */
  address: addressField,
});

/** trusted_peers_info.json: the nodes of the network by UUID; an entry for the own node is ignored. */
export const trustedPeersSchema = z.record(uuidField, peerEntry);

export type TrustedPeers = z.infer<typeof trustedPeersSchema>;
