import { mock } from 'node:test';
import { type CallContext, Metadata } from 'nice-grpc';
import { type NodeConfig, nodeConfigSchema } from '#common/config/node-config.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from '../../services/gateway/clients/node-services.ts';
import type { PeerLink } from '../../services/gateway/clients/peer-link.ts';
import { createAgreementService } from '../../services/gateway/frontends/peer/agreement-service.ts';
import { Rendezvous } from '../../services/gateway/opening/rendezvous.ts';
import { MemoryStreamStore } from '../../services/gateway/store/memory-stream-store.ts';
import { peerQuotas } from '../../services/gateway/store/peer-quotas.ts';
import { parseStreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { ALICE, BOB, CAROL, QOS } from './streams.ts';

export { ALICE, BOB, CAROL, QOS };

const address = { host: '127.0.0.1', port: 0 };

/** What the gateway of a peer is asked, and what it answers: as `script` says, else that nothing is wrong. */
export class StubPeer {
  readonly calls: { call: string; request: unknown; timeoutMs: number }[] = [];
  script: Partial<PeerLink> = {};

  readonly agreement = Object.fromEntries(
    (['open', 'join', 'produce', 'confirm', 'demand', 'close'] as const).map((call) => [
      call,
      (request: never, timeoutMs: number) => {
        this.calls.push({ call, request, timeoutMs });
        const answer = this.script[call] as ((request: never, timeoutMs: number) => unknown) | undefined;
        return answer ? answer(request, timeoutMs) : Promise.resolve(DEFAULTS[call]);
      },
    ]),
  ) as unknown as PeerLink;

  count(call: keyof PeerLink): number {
    return this.calls.filter((one) => one.call === call).length;
  }
}

/** The answer to an Open. */
export const opened = (change: Partial<OpenResponse> = {}): OpenResponse => ({
  joined: true,
  qos: QOS,
  allowDegraded: false,
  softwareVersion: '',
  protocolVersion: PROTOCOL_VERSION,
  ...change,
});

const DEFAULTS: Record<string, unknown> = {
  open: opened(),
  join: { accepted: true },
  close: {},
  demand: { buffered: 0 },
};

/** One gateway's openings, without a network: its peers are stubs, and time stands until a test moves it. */
export function openingsOf(
  node: string,
  limits: Partial<NodeConfig['limits']> = {},
  trustedPeers = 1,
  assertUsable: () => Promise<void> = async () => undefined,
) {
  const config = nodeConfigSchema.parse({
    uuid: node,
    certificate_config: { certificate_ip: 'x', cert_authority_path: 'x', cert_path: 'x', key_path: 'x' },
    hybridization_server_address: address,
    qkd_address: address,
    peer_local_address: address,
  });
  Object.assign(config.limits, limits);
  const time = { ms: 0 };
  const peers = new Map<string, StubPeer>();
  const peerOf = (uuid: string) => {
    const known = peers.get(uuid) ?? new StubPeer();
    peers.set(uuid, known);
    return known;
  };
  const services = {
    nodeUuid: node,
    limits: config.limits,
    qkd: config.qkd,
    log: silentLog,
    now: () => time.ms,
    sharedSeed: () => undefined,
    qkdSource: { openQkd: () => new Promise(() => undefined), closeQkd: async () => ({}) },
    peer: (uuid: string) => peerOf(uuid).agreement,
  } as unknown as NodeServices;
  const registry = new MemoryStreamStore({
    maxStreams: config.limits.max_streams,
    quotas: peerQuotas(config.limits, trustedPeers),
    now: services.now,
    onExpiry: () => undefined,
  });
  const rendezvous = new Rendezvous({ config, services, registry });
  const agreement = createAgreementService({
    nodeUuid: node,
    services,
    registry,
    rendezvous,
    assertUsable,
  });
  return { config, time, peerOf, services, registry, rendezvous, agreement };
}

export type Openings = ReturnType<typeof openingsOf>;

/** The context of a call that comes from a peer. */
export function from(peer: string): CallContext {
  return { metadata: Metadata({ [PEER_METADATA]: peer }) } as CallContext;
}

const uri = (app: string, node: string) => `hybrid://${app}@${node}`;

/** The terms of the applications called `app` at both nodes. */
export function termsOf(app: string, source: string, destination: string) {
  return parseStreamTerms(uri(app, source), uri(app, destination), {
    method: 'hkdf-sha384',
    keySources: ['ML-KEM-768', 'QKD'],
  });
}

/** The `n`-th KSID, as text and as bytes. */
export function ksidOf(n: number): { text: string; bytes: Buffer } {
  const hex = n.toString(16).padStart(12, '0');
  const text = `11111111-1111-4111-8111-${hex}`;
  return { text, bytes: Buffer.from(text.replaceAll('-', ''), 'hex') };
}

/** The `n`-th incarnation. */
export const incarnation = (n: number): Buffer => Buffer.alloc(8, n);

/** An offer of the initiator `source` to `destination`. */
export function offerOf(
  app: string,
  source: string,
  destination: string,
  n: number,
  change: Partial<OpenRequest> = {},
): OpenRequest {
  const terms = termsOf(app, source, destination);
  return {
    protocolVersion: PROTOCOL_VERSION,
    keyStreamId: ksidOf(n).bytes,
    incarnation: incarnation(1),
    source: terms.source,
    destination: terms.destination,
    method: terms.method.name,
    slots: [...terms.slots],
    qos: QOS,
    predefined: false,
    allowDegraded: false,
    softwareVersion: '',
    ...change,
  };
}

/** An application's wish to open the stream of `app`. */
export function wishOf(app: string, source: string, destination: string, change: object = {}) {
  return {
    terms: termsOf(app, source, destination),
    qos: QOS,
    ksid: undefined,
    presence: 'app' as const,
    timeoutMs: 10_000,
    signal: new AbortController().signal,
    ...change,
  };
}

/** Lets everything that is ready happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** Moves a node's time, and the mocked timers, by `ms` in small steps, so that what each step brings can happen. */
export async function pass(node: Openings, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 250) {
    await settle();
    const step = Math.min(250, left);
    node.time.ms += step;
    mock.timers.tick(step);
  }
  await settle();
}
