import { z } from 'zod';
import { findMethod } from '#common/catalogue/methods.ts';
import { uuidField } from '#common/config/fields.ts';

const methodField = z.string().refine((name) => findMethod(name) !== undefined, {
  error: ({ input }) => `unknown method ${JSON.stringify(String(input).slice(0, 64))}`,
});

const floorSection = z.strictObject({
  /** Kinds of sources that are woven at least: 2 = QKD and a KEM. */
  min_kinds: z.int().min(1).max(2).optional(),
  /** NIST category that each KEM has at least. */
  min_nist_category: z.int().min(1).max(5).optional(),
  /** Methods that are allowed; absent = all. */
  methods: z.array(methodField).min(1).optional(),
});

/** What may be missing in a chunk while it fails, by the name of what may not. */
export const SOURCE_POLICIES = ['all', 'qkd-required', 'pqc-required', 'any'] as const;

const policyPart = {
  /** all: every source; qkd-required, pqc-required: those of the other kind may be left out while they fail; any: those of either kind. */
  sources: z.enum(SOURCE_POLICIES).optional(),
  /** What no stream may be below; absent = nothing. */
  floor: floorSection.optional(),
};

export const policySection = z.strictObject({
  /** refuse: all slots are required; shared_seed: a secret from shared_seed may stand in for one, flagged as degraded. */
  missing_source: z.enum(['refuse', 'shared_seed']).default('refuse'),
  ...policyPart,
  /** What counts beside that for streams with single nodes; the stricter counts. */
  peers: z.record(uuidField, z.strictObject(policyPart)).default({}),
});

/** What counts beside that for the streams of one listener; the stricter counts. */
export const listenerPolicySection = z.strictObject(policyPart);

export type SourcePolicy = (typeof SOURCE_POLICIES)[number];
export type PolicyConfig = z.infer<typeof policySection>;
export type ListenerPolicyConfig = z.infer<typeof listenerPolicySection>;
