import { z } from 'zod';
import { addressField, uuidField } from '#common/config/fields.ts';
import { ownMemory } from '#common/crypto/bytes.ts';
import { Secret } from '#common/crypto/secret.ts';

/** Less than this is found by trying. */
const MIN_SEED_BYTES = 8;

const peerEntry = z.strictObject({
  /** Agreed beforehand; makes the stand-in for a missing source where the policy allows it. */
  shared_seed: z
    .string()
    .refine(
      (text) => Buffer.byteLength(text.trim()) >= MIN_SEED_BYTES,
      `must have at least ${MIN_SEED_BYTES} bytes besides blanks; leave it out where nothing shall stand in for a source`,
    )
    .transform(secretOf)
    .optional(),
  /** Where the peer's broker listens. */
  address: addressField,
});

/** trusted_peers_info.json: the nodes of the network by UUID; an entry for the own node is ignored. */
export const trustedPeersSchema = z.record(uuidField, peerEntry);

export type TrustedPeers = z.infer<typeof trustedPeersSchema>;

/** The text in UTF-8, in memory of its own, since it is kept. */
function secretOf(text: string): Secret {
  const bytes = ownMemory(Buffer.byteLength(text));
  bytes.write(text);
  return new Secret(bytes);
}
