import { z } from 'zod';
import { UUID_ANY_CASE } from '#common/ids/uuid.ts';

/** The name by which an entry means the clients of listeners that ask for no certificate. */
export const ANONYMOUS = 'anonymous';

/** A family of SPIFFE ids: of one trust domain, and any path that begins so. */
const FAMILY = /^spiffe:\/\/[^*/]+\/[^*]*\*$/;

const keysPerSecond = z.int().min(1).max(1_000_000);

/** What one client may take; each absent = no limit of its own. */
const quotaSection = z.strictObject({
  /** Streams that it has open. */
  streams: z.int().min(1).optional(),
  /** Keys that it is given, one second of them at once. */
  keys_per_second: keysPerSecond.optional(),
  /** OPEN_CONNECTs and GET_KEYs of it that wait. */
  waiting_requests: z.int().min(1).optional(),
});

/** The same of an SAE or a system, whose streams are the gateway's; 64 of its calls wait at most in any case. */
export const partyQuotaSection = z.strictObject({
  keys_per_second: keysPerSecond.optional(),
  waiting_requests: z.int().min(1).max(64).optional(),
});

const patternField = z
  .string()
  .min(1)
  .regex(/^[^*]*\*?$/, 'may have a * at its end only');

const clientSection = z.strictObject({
  /** What its certificate names it by; `spiffe://…/*` a family of SPIFFE ids, `*` all certificates. */
  identity: z
    .string()
    .min(1)
    .refine((text) => !text.includes('*') || text === '*' || FAMILY.test(text), {
      error: 'may have a * only as spiffe://<trust domain>/…*, or alone',
    }),
  /** What it may open streams as: URIs of its end, or their names; `*` at the end is anything. */
  applications: z.array(patternField),
  /** Nodes to which it may open streams; absent = all trusted peers. */
  peers: z
    .array(
      z
        .string()
        .refine((text) => text === '*' || UUID_ANY_CASE.test(text), 'must be the UUID of a node, or *')
        .transform((text) => text.toLowerCase()),
    )
    .optional(),
  quota: quotaSection.optional(),
});

/** Which clients may open streams, and what each of them may take. */
export const accessSection = z.strictObject({
  /** Who may open streams; absent = every client that a listener lets in, empty = nobody. */
  clients: z.array(clientSection).optional(),
  /** What a certificate's identity or an SAE may take where nothing of its own says so. */
  default_quota: quotaSection.optional(),
});

export type AccessConfig = z.infer<typeof accessSection>;

export type ClientConfig = z.infer<typeof clientSection>;

export type QuotaConfig = z.infer<typeof quotaSection>;
