import { z } from 'zod';
import { UUID_ANY_CASE } from '#common/ids/uuid.ts';

/** ETSI GS QKD 014 V1.1.1 (2019-02), as both ends of its REST interface need it. */
export const ETSI014_BASE_PATH = '/api/v1/keys';

/** Largest numbers that are taken from the other side: keys of one request, bits of one key. */
const MAX_KEYS = 100_000;
const MAX_KEY_BITS = 8 * 1024 * 1024;

const count = (most: number) => z.int().min(0).max(most);

/** Status, clause 6.1 (Table 9): what of it matters to a client; key sizes are bits. */
export const statusSchema = z.object({
  key_size: count(MAX_KEY_BITS),
  stored_key_count: count(Number.MAX_SAFE_INTEGER).default(0),
  max_key_per_request: count(MAX_KEYS),
  max_key_size: count(MAX_KEY_BITS),
  min_key_size: count(MAX_KEY_BITS),
});

export type Etsi014Status = z.infer<typeof statusSchema>;

const keyId = z.string().regex(UUID_ANY_CASE, 'must be a UUID');

/** Key container, clause 6.3 (Table 11); `Keys` is what the table prints, `keys` its example. */
export const keyContainerSchema = z
  .object({ keys: keysOf().optional(), Keys: keysOf().optional() })
  .transform(({ keys, Keys }) => keys ?? Keys)
  .pipe(keysOf());

/** Key request, clause 6.2 (Table 10). */
export const keyRequestSchema = z.object({
  number: z.int().min(0).max(MAX_KEYS).default(1),
  size: z.int().min(1).max(MAX_KEY_BITS).optional(),
  additional_slave_SAE_IDs: z.array(z.string()).max(0).optional(),
  extension_mandatory: z.array(z.record(z.string(), z.unknown())).max(0).optional(),
});

/** Key IDs, clause 6.4 (Table 12). */
export const keyIdsSchema = z.object({
  key_IDs: z
    .array(z.object({ key_ID: keyId }))
    .min(1)
    .max(MAX_KEYS),
});

/** Error, clause 6.5 (Table 13). */
export const errorSchema = z.object({ message: z.string() });

function keysOf() {
  return z.array(z.object({ key_ID: keyId, key: z.base64() })).max(MAX_KEYS);
}
