import { z } from 'zod';
import { partyQuotaSection } from '#common/config/access/access-section.ts';
import {
  addressField,
  durationField,
  hostField,
  pathField,
  portField,
  uuidField,
} from '#common/config/fields.ts';
import { listenerPolicySection } from '#common/policy/policy-section.ts';

/** What a key is made of where no application says so, and what it may be made of. */
const defaults = {
  /** What a URI without a query means. */
  default_method: z.string().default('hkdf-sha384'),
  default_key_sources: z.array(z.string()).min(1).default(['ML-KEM-768', 'QKD']),
  /** Beside the node's policy; the stricter counts. */
  policy: listenerPolicySection.optional(),
};

/** What every listener of ETSI GS QKD 004 lets be chosen. */
const common = {
  /** app: GET_KEY needs the peer's application; node: the peer's node is enough. */
  peer_presence: z.enum(['app', 'node']).default('app'),
  ...defaults,
};

/** Where a listener that has an address of its own is, on loopback unless told otherwise. */
const own = (port: number) => ({
  host: hostField.default('127.0.0.1'),
  port: portField.default(port),
  /** CAs of the clients, or their self-signed certificates; absent = the network's CAs. */
  client_ca_path: pathField.optional(),
});

const jsonListener = z.strictObject({
  /** off: plain TCP as in the reference; server: TLS; mutual: TLS with client certificates of the same CA. */
  tls: z.enum(['off', 'server', 'mutual']).default('off'),
  ...common,
});

const binaryListener = z.strictObject({
  ...own(25_575),
  /** mutual: TLS 1.3 with client certificates; off: plain TCP, on loopback only. */
  tls: z.enum(['mutual', 'off']).default('mutual'),
  ...common,
  /** The other node, where the URIs of an application name none. */
  default_peer: uuidField.optional(),
  /** Nodes by the hosts that mean them in the URIs of applications. */
  peers: z.record(z.string().min(1).toLowerCase(), uuidField).default({}),
  /** Largest Max_bps of a stream; a larger one is adjusted. 0 = no limit. */
  max_bps: z.int().min(0).max(0xffff_ffff).default(500_000),
});

const grpcListener = z.strictObject({ ...own(50_051), ...common });

const MAX_SAE_ID_CHARS = 128;

/** Longest key, bits: 8 KiB. */
const MAX_KEY_BITS = 65_536;

/** Who gets keys by their names: an SAE of ETSI GS QKD 014, a system of SKIP. */
const party = z.strictObject({
  /** UUID of the node that it calls; absent = this one. */
  node: uuidField.optional(),
  /** What its certificate names it by; absent = its ID, as whatever kind of name. Counts at its node alone. */
  identity: z.string().min(1).optional(),
  /** What it may take; what it leaves out is that of access.default_quota. */
  quota: partyQuotaSection.optional(),
});

const saeId = z
  .string()
  .min(1)
  .max(MAX_SAE_ID_CHARS)
  .refine((id) => id.isWellFormed(), 'must be well-formed Unicode');

const keyBits = z.int().min(8).max(MAX_KEY_BITS).multipleOf(8);

const restListener = z.strictObject({
  ...own(8_443),
  ...defaults,
  /** The SAEs of this node and those of others that they share keys with, by their SAE IDs. */
  saes: z.record(saeId, party),
  /** Bits of a key where no request says so. */
  key_size: keyBits.default(256),
  min_key_size: keyBits.default(64),
  max_key_size: keyBits.default(4_096),
  /** Keys of key_size that are held ready for each pair of SAEs whose stream is open. */
  ready_keys: z.int().min(0).max(1_024).default(10),
  max_key_per_request: z.int().min(1).max(1_024).default(128),
  /** Further slave SAEs that one request may name; 0 = none. */
  max_sae_id_count: z.int().min(0).max(64).default(8),
  /** How long a key that the master SAE has got lies ready for its slave SAEs at least. */
  key_ttl: durationField('10m', 1_000),
});

/** Lists of systems may have patterns (draft-cisco-skip-02): no ID has a character that stands for others in one. */
const systemId = z
  .string()
  .regex(
    /^[A-Za-z0-9._:@-]{1,128}$/,
    'must be 1 to 128 letters, digits, dots, colons, hyphens, underscores or @',
  );

const psk = z.strictObject({
  /** Clients by the identities that their handshakes name. */
  identities: z.record(
    z.string().regex(/^[\x20-\x7e]{1,128}$/, 'must be 1 to 128 printable ASCII characters'),
    z.strictObject({
      /** The secret, 16 to 64 bytes as hexadecimal digits. */
      path: pathField,
      /** Absent = the one that is named as the identity is. */
      system: systemId.optional(),
    }),
  ),
});

const skipListener = z.strictObject({
  ...own(8_444),
  ...defaults,
  /** The systems of this node and those of others that they share keys with, by their system IDs. */
  systems: z.record(systemId, party),
  /** Bits of a key where no request says so. */
  key_size: keyBits.default(256),
  min_key_size: keyBits.default(64),
  max_key_size: keyBits.default(4_096),
  /** Keys of key_size that are held ready for each pair of systems whose stream is open. */
  ready_keys: z.int().min(0).max(1_024).default(10),
  /** How long a key that one system has got lies ready for the other at least. */
  key_ttl: durationField('10m', 1_000),
  /** TLS with pre-shared keys, beside certificates. */
  psk: psk.optional(),
});

/** Health ports that one console asks at most: each service of a node has one. */
const MAX_HEALTH_PORTS = 16;

const consoleListener = z.strictObject({
  ...own(9_466),
  /** mutual: TLS 1.3 with client certificates; off: plain HTTP, on loopback only. Absent: off on loopback, else mutual. */
  tls: z.enum(['mutual', 'off']).optional(),
  /** Health ports of the node's services; absent = the own one. */
  health: z.array(addressField).min(1).max(MAX_HEALTH_PORTS).optional(),
});

/** The doors for applications, and the operators' window; those that are optional are shut unless they are here. */
export const listenersSection = z.strictObject({
  json: jsonListener.prefault({}),
  binary: binaryListener.optional(),
  grpc: grpcListener.optional(),
  rest: restListener.optional(),
  skip: skipListener.optional(),
  console: consoleListener.optional(),
});

export type ListenersConfig = z.infer<typeof listenersSection>;
