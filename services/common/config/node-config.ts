import { z } from 'zod';
import { KEM_ENGINE_NAMES } from '#common/catalogue/kems.ts';
import { accessSection } from '#common/config/access/access-section.ts';
import { listenersSection } from '#common/config/app-listeners.ts';
import {
  addressField,
  durationField,
  hostField,
  listenAddressField,
  listenHostField,
  pathField,
  portField,
  urlField,
  uuidField,
} from '#common/config/fields.ts';
import { policySection } from '#common/policy/policy-section.ts';

/** The services of a node, named as the architecture names them. */
export const SERVICE_NAMES = ['gateway', 'qkd-source', 'pqc-source', 'peer-broker', 'hybridizer'] as const;

export type ServiceName = (typeof SERVICE_NAMES)[number];

/** The reference's logging types; each includes the more severe ones. */
export const LOG_TYPES = ['debug', 'info', 'warning', 'error', 'none'] as const;

export type LogType = (typeof LOG_TYPES)[number];

const CONSOLE_FORMATS = ['text', 'json'] as const;

const logTypeField = z
  .string()
  .meta({ examples: [...LOG_TYPES] })
  .transform((text) => text.toLowerCase())
  .pipe(z.enum(LOG_TYPES));

const loggingConfig = z.strictObject({
  console_log_type: logTypeField.default('info'),
  colorless_console_log: z.boolean().default(false),
  /** text: for people; json: an object a line, as in the file, for whatever collects a container's output. */
  console_format: z.enum(CONSOLE_FORMATS).default('text'),
  file_log_type: logTypeField.default('none'),
  /** Path of the log file; needed unless file_log_type is none. */
  filename: pathField.optional(),
});

const certificateConfig = z.strictObject({
  /** The address that peers connect to; goes into the certificates. */
  certificate_ip: hostField,
  /**
   * The CA's certificate, or those of several while one is replaced; a ca.key
   * beside it lets a node issue and renew its own certificates.
   */
  cert_authority_path: pathField,
  /** Revocation lists of those CAs (PEM), read again when the file changes; absent = nothing is revoked. */
  crl_path: pathField.optional(),
  /** The peer-broker's certificate and key; the other services' lie beside them, named after the service. */
  cert_path: pathField,
  key_path: pathField,
  /** The SPIFFE trust domain; the same in the whole network. */
  network: z
    .string()
    .regex(/^[a-z0-9._-]+$/)
    .default('keyweave'),
});

const serviceSection = z.strictObject({
  /** Where the others dial the service. */
  address: listenAddressField.optional(),
  /** What it binds to where that differs: 0.0.0.0, or a subnet such as 10.10.21.0/24 for the own address in it. */
  listen_host: listenHostField.optional(),
  /** Services of the own node that may call it; absent = those that the architecture needs, empty = nobody. */
  callers: z.array(z.enum([...SERVICE_NAMES, 'tool'])).optional(),
});

const qkdTls = z.strictObject({
  ca_path: pathField,
  cert_path: pathField.optional(),
  key_path: pathField.optional(),
  /** Name that the key manager's certificate must carry; default: the host of qkd_address. */
  server_name: z.string().optional(),
});

const reservoirSection = z.strictObject({
  /** QKD keys that one reservoir holds at most, of 32 bytes each. */
  max_keys: z.int().min(64).max(65_536).default(2_048),
  /** A key that was read and that nobody has used for so long is wiped. */
  max_age: durationField('60s'),
});

/** What key managers speak. */
const QKD_DRIVERS = ['etsi004-json', 'etsi004-binary', 'etsi014'] as const;

/** So that two of them fit into a handle, however they are encoded. */
const SAE_ID = /^[\x21-\x7e]{1,40}$/;
const SAE_ID_WORDS = 'must be 1 to 40 letters, digits and signs of ASCII';

const qkdKeys = z.strictObject({
  driver: z.enum(QKD_DRIVERS).default('etsi004-json'),
  tls: qkdTls.optional(),
  /**
   * How the two ends meet at the key managers; auto: by KSID where one comes at
   * once, else by URIs. Those of other drivers than etsi004-json know KSIDs only.
   */
  join: z.enum(['auto', 'ksid', 'uris']).default('auto'),
  /** reuse: one connection for many calls; per-call: as the reference; auto: reuse until the key manager closes. */
  connection: z.enum(['auto', 'reuse', 'per-call']).default('auto'),
  /** auto: several requests at once, and keys in blocks, where the key manager has been seen to bear it; off: never. */
  pipeline: z.enum(['auto', 'off']).default('auto'),
  /** Fixed application names towards the key manager, as the reference's Application1 and Application4. */
  source_application: z.string().min(1).optional(),
  destination_application: z.string().min(1).optional(),
  /** ETSI 014: SAE ids by the UUIDs of nodes, the own one among them; a node that is not named has its UUID for one. */
  sae_ids: z.record(uuidField, z.string().regex(SAE_ID, SAE_ID_WORDS)).default({}),
  /** Keys that are asked for as one where a stream is fast and the key manager gives so much at a time; 1 = never. */
  block_keys: z.int().min(1).max(64).default(16),
  /** link: all streams to one node take their QKD keys from one stream at the key managers; stream: each has its own. */
  sharing: z.enum(['link', 'stream']).default('link'),
  reservoir: reservoirSection.prefault({}),
  /** What the key manager can give for streams to one node, bit/s, until it has shown it; a larger min_bps is adjusted. 0 = not known. */
  key_rate_bps: z.int().min(0).default(0),
  /** Limit of one call to the key manager. */
  timeout: durationField('5s'),
});

const qkdSection = qkdKeys.transform((qkd) => ({
  ...qkd,
  join: qkd.driver === 'etsi004-json' || qkd.join !== 'auto' ? qkd.join : ('ksid' as const),
}));

const pqcSection = z.strictObject({
  /** Engines that may do KEM operations; which one does what is in the table of algorithms. */
  engines: z
    .array(z.enum(KEM_ENGINE_NAMES))
    .min(1)
    .default([...KEM_ENGINE_NAMES]),
  /** One-time key pairs made ahead where key generation is slow. */
  key_pair_pool: z
    .strictObject({
      /** Of one algorithm; 0 makes none ahead. */
      max_pairs: z.int().min(0).max(4096).default(64),
      /** Of all algorithms together. */
      max_bytes: z.int().min(0).default(67_108_864),
    })
    .prefault({}),
});

const healthSection = z.strictObject({
  /** Where the probes are served, a subnet for the own address in it; who probes from outside the machine or container needs another than loopback. */
  host: listenHostField.default('127.0.0.1'),
  port: portField,
});

const telemetrySection = z.strictObject({
  /** At /metrics of the health port, and over OTLP where that is configured. */
  metrics: z.boolean().default(true),
  traces: z
    .strictObject({
      /** Share of the requests and batches that begin here and are traced; what another node has begun is traced as it says. */
      sample_ratio: z.number().min(0).max(1).default(0.01),
    })
    .optional(),
  /** An OpenTelemetry collector, OTLP over HTTP in protobuf. */
  otlp: z
    .strictObject({
      /** https, or http on the own machine; /v1/metrics and /v1/traces are added. */
      endpoint: urlField,
      /** CA of the collector's certificate; absent = those that the system trusts. */
      ca_path: pathField.optional(),
      cert_path: pathField.optional(),
      key_path: pathField.optional(),
      /** How often metrics are sent. */
      interval: durationField('30s', 1_000),
    })
    .optional(),
  /** A line for every key that is delivered, written before the key leaves. */
  audit: z
    .strictObject({
      filename: pathField,
      /** What becomes of a key whose line cannot be written. */
      when_unwritable: z.enum(['refuse', 'deliver']).default('refuse'),
    })
    .optional(),
});

const storeSection = z.strictObject({ kind: z.enum(['memory']).default('memory') });

const limitsSection = z.strictObject({
  /** One JSON request. */
  max_request_bytes: z.int().min(1024).max(16_777_216).default(65_536),
  max_connections: z.int().min(1).default(8192),
  /** Of those from one host, of IPv6 one /64; absent = half of max_connections, and loopback has all. */
  max_connections_per_network: z.int().min(1).optional(),
  /** A connection without a request. */
  idle_timeout: durationField('10m'),
  /** From the first byte of a request to its last. */
  request_timeout: durationField('10s'),
  /** How long an application may leave answers unread without reading any of them. */
  write_timeout: durationField('30s'),
  /** What a QoS timeout of 0 means. */
  default_timeout: durationField('10s'),
  /** Longest timeout that a QoS may ask for. */
  max_timeout: durationField('10m'),
  max_streams: z.int().min(1).default(10_000),
  /** Streams with one peer; absent = max_streams shared evenly among the trusted peers. */
  max_streams_per_peer: z.int().min(1).optional(),
  /** Streams that one peer has placed here and no application has joined; absent = half of max_streams_per_peer. */
  max_open_offers_per_peer: z.int().min(1).optional(),
  /** Undelivered keys of all streams with one peer, bytes. */
  max_held_bytes_per_peer: z.int().min(65_536).default(33_554_432),
  /** Unread confirmed chunks that one end of a stream holds at most. */
  max_buffered_chunks: z.int().min(1).max(65_536).default(1024),
  /** The same in bytes; one chunk is always held. */
  max_buffered_bytes: z.int().min(1024).default(1_048_576),
  /** Chunks made ahead of demand at most. */
  max_prefetch_chunks: z.int().min(0).max(4096).default(512),
  /** Chunks of one exchange at most. */
  max_batch_chunks: z.int().min(1).max(1024).default(256),
  /** Grace that open calls get when a service stops. */
  shutdown_grace: durationField('5s', 0),
});

/** config.json: every field of the reference with its meaning, ours in optional sections beside them. */
export const nodeConfigSchema = z.strictObject({
  uuid: uuidField,
  logging_config: loggingConfig.prefault({}),
  certificate_config: certificateConfig,
  hybridization_server_address: addressField,
  qkd_address: addressField,
  peer_local_address: listenAddressField,
  services: z.partialRecord(z.enum(SERVICE_NAMES), serviceSection).default({}),
  listeners: listenersSection.prefault({}),
  qkd: qkdSection.prefault({}),
  pqc: pqcSection.prefault({}),
  policy: policySection.prefault({}),
  /** Which applications may open streams, and what each may take; absent = all that a listener lets in, without quotas. */
  access: accessSection.optional(),
  store: storeSection.prefault({}),
  limits: limitsSection.prefault({}),
  /** Plain HTTP probes of a service, or of the whole node under `keyweave node`; absent = none. */
  health: healthSection.optional(),
  /** Metrics, traces and the audit log; absent = none, at no cost. */
  telemetry: telemetrySection.optional(),
});

export type NodeConfig = z.infer<typeof nodeConfigSchema>;
