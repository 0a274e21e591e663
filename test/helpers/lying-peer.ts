import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CallContext } from 'nice-grpc';
import { issueServiceCertificate } from '#certs/issue.ts';
import type { Address } from '#common/config/fields.ts';
import { loadNodeFiles } from '#common/config/load.ts';
import type { ServiceName } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { connect, type GrpcConnection } from '#common/grpc/client.ts';
import { startGrpcServer } from '#common/grpc/server.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { Readiness } from '#common/service/readiness.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { loadTlsIdentity } from '#common/tls/identity.ts';
import { spiffeId } from '#common/tls/spiffe.ts';
import type * as agreement from '#gen/keyweave/v1/key_agreement.ts';
import { KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';
import { freePorts } from '../../services/cli/free-ports.ts';
import {
  type LocalNetwork,
  type LocalNetworkOptions,
  type LocalNode,
  nodeUuid,
  startLocalNetwork,
} from './network.ts';

/** An address on which no node of a local network listens. */
const HOST = '127.0.0.9';

/** What a wire lets a call take; the callers' own deadlines are shorter. */
const WIRE_TIMEOUT_MS = 180_000;

/** Requests that a wire remembers of each method. */
const MAX_SEEN = 16;

/** Request and response of each method of KeyAgreement. */
export interface Messages {
  open: [agreement.OpenRequest, agreement.OpenResponse];
  join: [agreement.JoinRequest, agreement.JoinResponse];
  produce: [agreement.ProduceRequest, agreement.ProduceResponse];
  confirm: [agreement.ConfirmRequest, agreement.ConfirmResponse];
  demand: [agreement.DemandRequest, agreement.DemandResponse];
  close: [agreement.CloseRequest, agreement.CloseResponse];
}

export type Method = keyof Messages;

export const METHODS: readonly Method[] = ['open', 'join', 'produce', 'confirm', 'demand', 'close'];

/**
 * What becomes of the calls of one method: `pass` asks the honest node, with
 * the request or another one, as often as wanted; the result is the answer.
 * `signal` fires when the caller has given up.
 */
export type Lie<M extends Method> = (
  request: Messages[M][0],
  pass: (request: Messages[M][0]) => Promise<Messages[M][1]>,
  signal: AbortSignal,
) => Promise<Messages[M][1]>;

export type Lies = { [M in Method]?: Lie<M> };

/** Never answers; rejects when the caller has given up. */
export function silence(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = () => reject(new KeyweaveError('TIMEOUT', 'nobody waits any more'));
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
  });
}

/** A service of any node, by a certificate that the network's own CA has issued for it. */
export interface Impostor extends ServiceContext {
  /** End of the certificate, milliseconds since the epoch. */
  readonly notAfterMs: number;
  close(): void;
}

let issuedCertificates = 0;

/** @param options.days life of the certificate; fractions are allowed. */
export async function impersonate(
  network: LocalNetwork,
  uuid: string,
  options: { service?: ServiceName | 'tool'; days?: number } = {},
): Promise<Impostor> {
  const { service = 'peer-broker', days = 1 } = options;
  const caPath = join(network.folder, 'ca', 'ca.crt');
  const issued = await issueServiceCertificate({
    ca: {
      certificate: readFileSync(caPath, 'utf8'),
      key: readFileSync(join(network.folder, 'ca', 'ca.key'), 'utf8'),
    },
    network: 'keyweave',
    nodeUuid: uuid,
    service,
    names: [],
    days,
  });
  const base = join(network.folder, `impostor-${issuedCertificates++}`);
  writeFileSync(`${base}.crt`, issued.certificate);
  writeFileSync(`${base}.key`, issued.key, { mode: 0o600 });
  const identity = loadTlsIdentity({
    caPath,
    certPath: `${base}.crt`,
    keyPath: `${base}.key`,
    log: silentLog,
  });
  const { folder } = network.nodes[0] as LocalNode;
  const { config, peers } = loadNodeFiles(
    join(folder, 'config.json'),
    join(folder, 'trusted_peers_info.json'),
  );
  return {
    service: service as ServiceName,
    readiness: new Readiness(),
    config: { ...config, uuid },
    peers,
    onPeersChange: () => () => undefined,
    addresses: {} as never,
    identity,
    log: silentLog,
    notAfterMs: identity.notAfterMs,
    close: () => identity.close(),
  };
}

/** A connection of an impostor to one service of a node; by default to its peer-broker's outer port. */
export function dial(
  impostor: ServiceContext,
  node: LocalNode,
  server: { service: ServiceName; address: Address } = { service: 'peer-broker', address: node.peer },
): GrpcConnection {
  return connect({
    context: impostor,
    address: server.address,
    nodeUuid: node.uuid,
    service: server.service,
    unreachable: 'PEER_UNREACHABLE',
  });
}

/**
 * One direction of the agreement between two honest nodes, in the hands of the
 * test: to the caller it is the other node's broker, to the other node it is
 * the caller's. Without lies it passes everything on.
 */
export interface Wire {
  /** Names of the nodes. */
  readonly from: string;
  readonly to: string;
  /** May be replaced at any time; holds from the next call on. */
  lies: Lies;
  /** The newest requests of each method as they came, oldest first. */
  readonly seen: { readonly [M in Method]: Messages[M][0][] };
  stop(): Promise<void>;
}

async function startWire(network: LocalNetwork, from: LocalNode, to: LocalNode, at: Address): Promise<Wire> {
  const [caller, callee] = await Promise.all([
    impersonate(network, from.uuid),
    impersonate(network, to.uuid),
  ]);
  const connection = dial(caller, to);
  const client = connection.client(KeyAgreementDefinition);
  const seen: Wire['seen'] = { open: [], join: [], produce: [], confirm: [], demand: [], close: [] };
  const wire = { from: from.name, to: to.name, lies: {} as Lies, seen };

  function handler<M extends Method>(method: M) {
    const call = client[method] as unknown as (
      request: Messages[M][0],
      options: { timeoutMs: number; signal: AbortSignal },
    ) => Promise<Messages[M][1]>;
    return (request: Messages[M][0], { signal }: CallContext): Promise<Messages[M][1]> => {
      const pass = (changed: Messages[M][0]) => call(changed, { timeoutMs: WIRE_TIMEOUT_MS, signal });
      const past = seen[method] as Messages[M][0][];
      past.push(request);
      if (past.length > MAX_SEEN) past.shift();
      const lie = wire.lies[method] as Lie<M> | undefined;
      return lie ? lie(request, pass, signal) : pass(request);
    };
  }

  const server = await startGrpcServer(callee, {
    address: at,
    services: [
      {
        definition: KeyAgreementDefinition,
        implementation: Object.fromEntries(METHODS.map((method) => [method, handler(method)])),
        callers: new Set([spiffeId('keyweave', from.uuid, 'peer-broker')]),
      },
    ],
  });
  return Object.assign(wire, {
    stop: async () => {
      await server.stop();
      connection.close();
      caller.close();
      callee.close();
    },
  });
}

export interface WiredNetwork {
  readonly network: LocalNetwork;
  readonly nodes: readonly LocalNode[];
  /** What node `from` says to node `to`, and is answered. */
  wire(from: string, to: string): Wire;
  readonly wires: readonly Wire[];
  stop(): Promise<void>;
}

/**
 * Whole nodes of which some pairs agree over wires of the test.
 *
 * @param options.wired pairs of names.
 * @param options.strangers UUIDs of further nodes that all of them trust and that are not there.
 */
export async function startWiredNetwork(
  options: LocalNetworkOptions & {
    wired: readonly (readonly [string, string])[];
    strangers?: readonly string[];
  },
): Promise<WiredNetwork> {
  const { names, wired, strangers = [] } = options;
  const ends = wired.flatMap(([a, b]) => [
    [a, b],
    [b, a],
  ]) as [string, string][];
  const ports = await freePorts(HOST, ends.length + strangers.length);
  const seed = randomUUID();
  const entry = (i: number) => ({ shared_seed: seed, address: { host: HOST, port: ports[i] ?? 0 } });
  const network = await startLocalNetwork({
    ...options,
    peers: (name) => ({
      ...Object.fromEntries(
        ends.flatMap(([from, to], i) => (from === name ? [[nodeUuid(names.indexOf(to)), entry(i)]] : [])),
      ),
      ...Object.fromEntries(strangers.map((uuid, i) => [uuid, entry(ends.length + i)])),
    }),
  });
  const nodeOf = (name: string) => network.nodes.find((node) => node.name === name) as LocalNode;
  const wires: Wire[] = [];
  const stop = async () => {
    await network.stop();
    await Promise.all(wires.map((wire) => wire.stop()));
  };
  try {
    for (const [i, [from, to]] of ends.entries()) {
      wires.push(await startWire(network, nodeOf(from), nodeOf(to), entry(i).address));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    network,
    nodes: network.nodes,
    wires,
    wire: (from, to) => wires.find((wire) => wire.from === from && wire.to === to) as Wire,
    stop,
  };
}

/** Calls the node's gateway as a tool, which is on no list of callers, and is denied. @throws AssertionError where it is not. */
export async function callDenied(network: LocalNetwork, node: LocalNode): Promise<void> {
  const tool = await impersonate(network, node.uuid, { service: 'tool' });
  const { address } = node.services.gateway ?? assert.fail();
  const connection = dial(tool, node, { service: 'gateway', address });
  try {
    await assert.rejects(connection.client(KeyAgreementDefinition).close({}), { reason: 'NOT_ALLOWED' });
  } finally {
    connection.close();
    tool.close();
  }
}
