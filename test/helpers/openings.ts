import assert from 'node:assert/strict';
import { type CallContext, Metadata } from 'nice-grpc';
import { type NodeConfig, nodeConfigSchema } from '#common/config/node-config.ts';
import type { Random } from '#common/crypto/random.ts';
import { Secret } from '#common/crypto/secret.ts';
import { isSound } from '#common/errors/outcome.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import { systemClock } from '#common/time/clock.ts';
import type {
  BatchConfirmation,
  BatchDecision,
  OpenRequest,
  OpenResponse,
  QkdReference,
} from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLink, PeerLinks } from '../../services/gateway/clients/peer-link.ts';
import type { SharedSeeds } from '../../services/gateway/clients/shared-seeds.ts';
import { GatewayDelivery } from '../../services/gateway/delivery/gateway-delivery.ts';
import {
  createAgreementService,
  type InitiatorSide,
  type ReceivedOffer,
  type ResponderSide,
} from '../../services/gateway/frontends/peer/agreement-service.ts';
import { InitiatorOpening } from '../../services/gateway/opening/initiator-opening.ts';
import { ResponderOpening } from '../../services/gateway/opening/responder-opening.ts';
import { StreamEnds } from '../../services/gateway/opening/stream-ends.ts';
import { StreamFactory } from '../../services/gateway/opening/stream-factory.ts';
import type { StreamWish } from '../../services/gateway/opening/stream-wish.ts';
import { MemoryStreamStore } from '../../services/gateway/store/memory-stream-store.ts';
import { peerQuotas } from '../../services/gateway/store/peer-quotas.ts';
import type { KeyStream } from '../../services/gateway/streams/key-stream.ts';
import { NodePolicy } from '../../services/gateway/streams/policy/node-policy.ts';
import { StreamEvents, type StreamListener } from '../../services/gateway/streams/stream-events.ts';
import { parseStreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { FakeClock } from './fake-clock.ts';
import { ALICE, answerOf, BOB, CAROL, IdleProducer, QOS } from './streams.ts';

export { ALICE, BOB, CAROL, QOS };

/** The application that calls in these tests, on a listener that authenticates nobody. */
export const APPLICATION = { identity: undefined, address: '127.0.0.1:50000' };

const address = { host: '127.0.0.1', port: 0 };

/** The initiator's production, which makes nothing and says what it was asked for. */
export class IdleInitiator extends IdleProducer implements InitiatorSide {
  override readonly role = 'initiator';
  readonly demanded: [count: number, waitedFor: boolean][] = [];
  /** How long it was to take for confirmations that are on their way. */
  settleLimitMs = 0;
  settling: Promise<void> = Promise.resolve();

  constructor() {
    super('initiator');
  }

  demand(count: number, waitedFor: boolean): void {
    this.demanded.push([count, waitedFor]);
  }

  settled(limitMs: number): Promise<void> {
    this.settleLimitMs = limitMs;
    return this.settling;
  }
}

/** The responder's production, which makes nothing and says what it was asked for. */
export class IdleResponder extends IdleProducer implements ResponderSide {
  override readonly role = 'responder';
  readonly confirmations: BatchConfirmation[] = [];

  constructor() {
    super('responder');
  }

  confirm(confirmation: BatchConfirmation): BatchDecision {
    this.confirmations.push(confirmation);
    return { released: true, buffered: confirmation.count, failure: undefined };
  }
}

/** What makes nothing for a stream that this node leads. */
export function idleInitiator({ producer }: KeyStream): IdleInitiator {
  assert.ok(producer instanceof IdleInitiator);
  return producer;
}

export type TestStream = KeyStream<IdleInitiator | IdleResponder>;

/** The answer to an Open. */
export const opened = (change: Partial<OpenResponse> = {}): OpenResponse => ({
  joined: true,
  qos: QOS,
  allowDegraded: false,
  softwareVersion: '',
  protocolVersion: PROTOCOL_VERSION,
  ...change,
});

/** What the gateway of a peer is asked, and what it answers: as `script` says, else that nothing is wrong. */
export class StubPeer {
  readonly calls: { call: keyof PeerLink; request: unknown; timeoutMs: number | undefined }[] = [];
  script: Partial<PeerLink> = {};

  readonly link: PeerLink = {
    open: (request, timeoutMs) => {
      this.#note('open', request, timeoutMs);
      return this.script.open?.(request, timeoutMs) ?? Promise.resolve(opened());
    },
    join: (request, timeoutMs) => {
      this.#note('join', request, timeoutMs);
      return this.script.join?.(request, timeoutMs) ?? Promise.resolve({ accepted: true });
    },
    produce: (request) => {
      this.#note('produce', request);
      return (
        this.script.produce?.(request) ?? Promise.resolve({ answers: [], decisions: [], qkd: undefined })
      );
    },
    confirm: (request) => {
      this.#note('confirm', request);
      return this.script.confirm?.(request) ?? Promise.resolve({ decisions: [] });
    },
    demand: (request) => {
      this.#note('demand', request);
      return this.script.demand?.(request) ?? Promise.resolve({ buffered: 0, failure: undefined });
    },
    close: (request) => {
      this.#note('close', request);
      return this.script.close?.(request) ?? Promise.resolve({});
    },
  };

  /** The requests of one kind, oldest first. */
  requests(call: keyof PeerLink): unknown[] {
    return this.calls.filter((one) => one.call === call).map(({ request }) => request);
  }

  count(call: keyof PeerLink): number {
    return this.requests(call).length;
  }

  #note(call: keyof PeerLink, request: unknown, timeoutMs?: number): void {
    this.calls.push({ call, request, timeoutMs });
  }
}

/** Names that are drawn one after the other, the same in every run. */
export function countingRandom(): Random {
  let drawn = 0;
  return {
    uuid: () => ksidOf(0x1000 + drawn++).text,
    bytes: (count) => Buffer.alloc(count, 0x80 + (drawn++ % 0x80)),
  };
}

/** A configuration in which everything is as it is when nothing is said. */
export function configOf(uuid: string): NodeConfig {
  return nodeConfigSchema.parse({
    uuid,
    certificate_config: { certificate_ip: 'x', cert_authority_path: 'x', cert_path: 'x', key_path: 'x' },
    hybridization_server_address: address,
    qkd_address: address,
    peer_local_address: address,
  });
}

/**
 * One gateway's openings and delivery, without a network: its peers are stubs,
 * nothing makes its chunks, and time stands until a test moves it.
 */
export function openingsOf(
  nodeUuid: string,
  limits: Partial<NodeConfig['limits']> = {},
  trustedPeers = 1,
  assertUsable: () => Promise<void> = async () => undefined,
) {
  const config = configOf(nodeUuid);
  Object.assign(config.limits, limits);
  const clock = new TurningClock();
  const log = silentLog;
  const peers = new Map<string, StubPeer>();
  const peerOf = (uuid: string) => {
    const known = peers.get(uuid) ?? new StubPeer();
    peers.set(uuid, known);
    return known;
  };
  const links: PeerLinks = { to: (uuid) => peerOf(uuid).link };
  const seedOf = new Map<string, Secret>();
  const seeds: SharedSeeds = { of: (uuid) => seedOf.get(uuid) };
  /** What the listeners to streams are told; a test adds its own. */
  const listener: StreamListener = {};
  const events = new StreamEvents([listener]);
  const store = new MemoryStreamStore<TestStream>({
    ...{ maxStreams: config.limits.max_streams, quotas: peerQuotas(config.limits, trustedPeers), clock },
  });
  const producers = { initiator: () => new IdleInitiator(), responder: () => new IdleResponder() };
  const factory = new StreamFactory<IdleInitiator | IdleResponder>({
    ...{ limits: config.limits, policy: config.policy, seeds, store, producers, events, clock },
  });
  const ends = new StreamEnds({ store, links, events, log });
  const policy = new NodePolicy(nodeUuid, config.policy);
  const shared = { store, factory, policy, ends, links, clock, log };
  const random = countingRandom();
  const initiator = new InitiatorOpening({ ...shared, random });
  const responder = new ResponderOpening({ ...shared, nodeUuid, limits: config, assertUsable });
  const trusted = new Set([ALICE, BOB, CAROL]);
  const delivery = new GatewayDelivery({
    ...{ nodeUuid, limits: config, store, initiator, responder, ends, assertUsable, events },
    ...{ factory, policy, trusted, random, clock, kem: { unavailable: async () => new Map() } },
    qkdLinks: { leftBps: () => config.qkd.key_rate_bps },
  });
  /** Offers that were answered, those of unknown streams among them. */
  const received: ReceivedOffer[] = [];
  /** QKD keys that peers have announced. */
  const announced: { reference: QkdReference; peer: string; node: string }[] = [];
  const rounds = {
    answer: async (offers: readonly ReceivedOffer[]) => {
      received.push(...offers);
      return offers.map(({ offer, producer }) => ({
        ...answerOf(offer.count),
        failure: isSound(producer) ? undefined : { reason: producer.reason, detail: producer.detail },
      }));
    },
    prepare: async (reference: QkdReference, peer: string, node: string) => {
      announced.push({ reference, peer, node });
      return { failure: undefined, blockKeys: 16 };
    },
  };
  const agreement = createAgreementService({
    ...{ store, initiator, responder, ends, rounds, nodeUuid, clock },
  });
  /** Lets this node's policy allow a shared_seed, and gives it one for a peer. */
  const allowStandIn = (peer: string) => {
    config.policy.missing_source = 'shared_seed';
    seedOf.set(peer, new Secret(Buffer.alloc(32, 1)));
  };
  return {
    ...{ config, clock, peerOf, links, store, factory, ends, initiator, responder, delivery, agreement },
    ...{ events, listener, trusted, received, announced, allowStandIn },
  };
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

/** What the messages about a stream name it by. */
export function nameOf({ idBytes, incarnation }: Pick<KeyStream, 'idBytes' | 'incarnation'>) {
  return { keyStreamId: idBytes, incarnation };
}

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
export function wishOf(
  app: string,
  source: string,
  destination: string,
  change: Partial<StreamWish> = {},
): StreamWish {
  return {
    terms: termsOf(app, source, destination),
    qos: QOS,
    ksid: undefined,
    presence: 'app',
    timeoutMs: 10_000,
    owner: APPLICATION,
    signal: new AbortController().signal,
    ...change,
  };
}

/** Lets everything that is ready happen. */
export async function settle(): Promise<void> {
  for (let turns = 0; turns < 2; turns++) await new Promise((resolve) => setImmediate(resolve));
}

/** Time stands until `advance`, but turns of the event loop go on: who awaits an answer need not let them. */
class TurningClock extends FakeClock {
  override readonly soon = systemClock.soon;
}
