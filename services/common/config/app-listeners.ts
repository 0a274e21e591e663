import { z } from 'zod';
import { hostField, pathField, portField, uuidField } from '#common/config/fields.ts';

/** What every listener of applications lets be chosen. */
const common = {
  /** app: GET_KEY needs the peer's application; node: the peer's node is enough. */
  peer_presence: z.enum(['app', 'node']).default('app'),
  /** What a URI without a query means. */
  default_method: z.string().default('hkdf-sha384'),
  default_key_sources: z.array(z.string()).min(1).default(['ML-KEM-768', 'QKD']),
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

/** The doors for applications; those that are optional are shut unless they are here. */
export const listenersSection = z.strictObject({
  json: jsonListener.prefault({}),
  binary: binaryListener.optional(),
  grpc: grpcListener.optional(),
});

export type ListenersConfig = z.infer<typeof listenersSection>;
