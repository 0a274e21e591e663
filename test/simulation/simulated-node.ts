import { type NodeConfig, nodeConfigSchema } from '#common/config/node-config.ts';
import { Secret } from '#common/crypto/secret.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { SourcePolicy } from '#common/policy/policy-section.ts';
import type { DeriveRequest, HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import type { KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';
import type { EncapsulateRequest, PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import type { QkdSourceDefinition } from '#gen/keyweave/v1/qkd_source.ts';
import { createHybridizerClient } from '../../services/gateway/clients/hybridizer-client.ts';
import { PqcSourceClient } from '../../services/gateway/clients/kem-client.ts';
import { createPeerLink, type PeerLink } from '../../services/gateway/clients/peer-link.ts';
import { createQkdClient } from '../../services/gateway/clients/qkd-client.ts';
import type { KeyDelivery } from '../../services/gateway/delivery/key-delivery.ts';
import { createGatewayCore, type GatewayCore } from '../../services/gateway/gateway-core.ts';
import type { EndStream } from '../../services/gateway/production/end-producer.ts';
import { MemoryStreamStore } from '../../services/gateway/store/memory-stream-store.ts';
import { peerQuotas } from '../../services/gateway/store/peer-quotas.ts';
import type { StreamRole } from '../../services/gateway/streams/producer.ts';
import { StreamEvents } from '../../services/gateway/streams/stream-events.ts';
import type { Prng } from './prng.ts';
import type { SimulatedKeyManagers } from './simulated-key-managers.ts';
import type { SimulatedNetwork } from './simulated-network.ts';
import { type Secrets, SimulatedKems, SimulatedService, simulatedDerive } from './simulated-sources.ts';
import type { SimulatedProcess, SimulatedTime } from './simulated-time.ts';
import type { WovenKeys } from './woven-keys.ts';

/** What all nodes of a world share. */
export interface SharedWorld {
  readonly time: SimulatedTime;
  readonly network: SimulatedNetwork;
  readonly keyManagers: SimulatedKeyManagers;
  readonly secrets: Secrets;
  readonly nodes: readonly string[];
  readonly policy: NodeConfig['policy']['missing_source'];
  /** `policy.sources` of each node, in the order of `nodes`. */
  readonly sources: readonly SourcePolicy[];
  readonly sharing: NodeConfig['qkd']['sharing'];
  readonly random: (name: string) => Prng;
  /** What QKD keys have gone into. */
  readonly woven: WovenKeys;
  /** Indexes were burned at one end of a stream. */
  readonly dropped: (stream: string, role: StreamRole, first: number, count: number) => void;
}

export type ServiceOfNode = 'gateway' | 'peer-broker' | 'pqc-source' | 'qkd-source' | 'hybridizer';

/** A node: the real cores of a gateway over simulated services. Each service dies and comes back by itself. */
export class SimulatedNode {
  readonly uuid: string;
  readonly kems: SimulatedKems;
  readonly services: Readonly<Record<'pqc-source' | 'qkd-source' | 'hybridizer', SimulatedService>>;
  readonly #world: SharedWorld;
  readonly #config: NodeConfig;
  readonly #broker: SimulatedProcess = { name: 'peer-broker', alive: true };
  #gateway: SimulatedProcess = { name: 'gateway', alive: false };
  #core: GatewayCore | undefined;
  #store: MemoryStreamStore<EndStream> | undefined;
  /** Gateways that this node has had. */
  #lives = 0;

  constructor(uuid: string, world: SharedWorld) {
    this.uuid = uuid;
    this.#world = world;
    const address = { host: '127.0.0.1', port: 0 };
    const config = nodeConfigSchema.parse({
      uuid,
      certificate_config: { certificate_ip: 'x', cert_authority_path: 'x', cert_path: 'x', key_path: 'x' },
      hybridization_server_address: address,
      qkd_address: address,
      peer_local_address: address,
      policy: { missing_source: world.policy, sources: world.sources[world.nodes.indexOf(uuid)] },
      qkd: { sharing: world.sharing },
    });
    // Small enough that a run comes to them.
    const limits = { max_buffered_chunks: 48, max_prefetch_chunks: 24, max_batch_chunks: 16 };
    this.#config = {
      ...config,
      limits: { ...config.limits, ...limits, max_held_bytes_per_peer: 4_096 },
    };
    const serviceOf = (name: string) =>
      new SimulatedService(name, world.time, world.random(`${uuid} ${name}`));
    this.services = {
      'pqc-source': serviceOf('pqc-source'),
      'qkd-source': serviceOf('qkd-source'),
      hybridizer: serviceOf('hybridizer'),
    };
    this.kems = new SimulatedKems(this.services['pqc-source'], world.random(`${uuid} kems`), world.secrets);
    this.start();
  }

  /** What applications call; undefined while the gateway is away. */
  get delivery(): KeyDelivery | undefined {
    return this.#gateway.alive ? this.#core?.delivery : undefined;
  }

  /** Which gateway of this node that is, from 1. */
  get life(): number {
    return this.#lives;
  }

  /** Tells one opening of a KSID from another. */
  incarnationOf(ksid: string): string {
    return this.#store?.get(ksid)?.incarnation.toString('hex') ?? '';
  }

  /** Limits that are broken at this moment. */
  excesses(): string[] {
    const { max_buffered_chunks, max_held_bytes_per_peer } = this.#config.limits;
    const found: string[] = [];
    for (const { buffer } of this.#store?.all() ?? []) {
      if (buffer.size > max_buffered_chunks)
        found.push(`more than ${max_buffered_chunks} unread chunks of one stream`);
    }
    for (const other of this.#world.nodes) {
      const bytes = this.#store?.heldFor(other).bytes ?? 0;
      // One batch that somebody waits for comes on top.
      if (bytes < 0 || bytes > max_held_bytes_per_peer + WAITED_FOR_BYTES)
        found.push('too many bytes held for one peer');
    }
    return found;
  }

  /** What the gateway still holds, in words: of a quiet world nothing. */
  holds(): string[] {
    const found: string[] = [];
    const store = this.#store;
    if (!store) return found;
    for (const stream of store.all()) found.push(`a stream (${stream.local} here, ${stream.peer} there)`);
    for (const other of this.#world.nodes) {
      const { bytes } = store.heldFor(other);
      if (bytes !== 0) found.push(`${bytes} bytes for ${other.slice(0, 2)}`);
    }
    for (const { peer, role, taken, woven, burned, held } of this.#core?.qkdLinks.balances ?? []) {
      const nowhere = taken - woven - held - [...burned.values()].reduce((sum, keys) => sum + keys, 0);
      if (nowhere !== 0)
        found.push(`${nowhere} QKD keys as ${role} with ${peer.slice(0, 2)} that are nowhere`);
    }
    for (const count of this.kems.held.values()) found.push(`${count} key pairs`);
    return found;
  }

  /** `kill -9`. */
  kill(service: ServiceOfNode): void {
    if (service === 'gateway') {
      this.#gateway.alive = false;
      // Its sessions end with it, and its key manager closes what nobody reads any more.
      this.kems.held.clear();
      this.#world.keyManagers.closeAll(this.uuid);
    } else if (service === 'peer-broker') this.#broker.alive = false;
    else {
      this.services[service].process.alive = false;
      if (service === 'pqc-source') this.kems.held.clear();
    }
  }

  /** The supervisor starts it again. */
  restart(service: ServiceOfNode): void {
    if (service === 'gateway') {
      if (!this.#gateway.alive) this.start();
    } else if (service === 'peer-broker') this.#broker.alive = true;
    else this.services[service].process = { name: service, alive: true };
  }

  async stop(): Promise<void> {
    await this.#core?.stop('the simulation is over');
  }

  /** A gateway from nothing: it remembers nothing of its earlier lives. */
  start(): void {
    const world = this.#world;
    const { time, network, keyManagers, secrets, nodes } = world;
    this.#lives += 1;
    this.#gateway = { name: `gateway ${this.#lives}`, alive: true };
    const broker = this.#broker;
    const process = this.#gateway;
    const clock = time.clockOf(process);
    const random = world.random(`${this.uuid} gateway ${this.#lives}`);
    const { limits } = this.#config;
    const store = new MemoryStreamStore<EndStream>({
      ...{ maxStreams: limits.max_streams, quotas: peerQuotas(limits, nodes.length - 1), clock },
    });
    const links = new Map<string, PeerLink>();
    const client = network.brokerOf(
      this.uuid,
      process,
      broker,
    ) as unknown as ServiceClient<KeyAgreementDefinition>;
    const { services, kems } = this;
    const pqcSource = {
      encapsulate: ({ algorithm, publicKeys }: EncapsulateRequest) =>
        kems.encapsulate(process, algorithm, publicKeys),
      listAlgorithms: () => Promise.resolve({ algorithms: [] }),
    };
    const hybridizer = {
      derive: (request: never, { timeoutMs }: { timeoutMs: number }) =>
        services.hybridizer.call(process, timeoutMs, () => {
          world.woven.note(this.uuid, request);
          const { batches } = request as DeriveRequest;
          for (const { slots } of batches) {
            for (const slot of slots) secrets.give('secrets of a derivation', slot.secrets, process);
          }
          return simulatedDerive(request, secrets, process);
        }),
    };
    const kem = new PqcSourceClient(
      pqcSource as unknown as ServiceClient<PqcSourceDefinition>,
      clock,
      () => kems.openSession(process) as never,
    );
    this.#store = store;
    this.#core = createGatewayCore({
      ...{ config: this.#config, clock, log: silentLog, store },
      random: { uuid: () => random.uuid(), bytes: (count) => random.bytes(count) },
      // Every KEM of the catalogue can be done here.
      kem: withEveryKem(kem),
      qkd: createQkdClient(
        keyManagers.qkdSourceOf(
          this.uuid,
          services['qkd-source'],
          process,
        ) as unknown as ServiceClient<QkdSourceDefinition>,
        this.#config.qkd.timeout,
      ),
      hybridizer: createHybridizerClient(hybridizer as unknown as ServiceClient<HybridizerDefinition>),
      links: {
        to: (node) => {
          const link = links.get(node) ?? createPeerLink(client, node, clock);
          links.set(node, link);
          return link;
        },
      },
      seeds: { of: () => new Secret(Buffer.from('a seed that all nodes know')) },
      trusted: { has: (node) => nodes.includes(node) },
      events: new StreamEvents([
        {
          dropped: (stream, first, count, error) => {
            // Who has closed may have read what it released, and says no more.
            if (isReason(error, 'UNKNOWN_STREAM')) return;
            const { incarnation } = stream as unknown as EndStream;
            world.dropped(`${stream.id}/${incarnation.toString('hex')}`, stream.role, first, count);
          },
        },
      ]),
    });
    network.serve(this.uuid, { process, broker, service: this.#core.agreement });
  }
}

/** What may be held beyond the limit, since applications wait for it. */
const WAITED_FOR_BYTES = 16 * 32;

function withEveryKem(kem: PqcSourceClient): PqcSourceClient {
  kem.unavailable = async () =>
    new Map(['ML-KEM-512', 'ML-KEM-768', 'ML-KEM-1024'].map((name) => [name, ''] as const));
  return kem;
}
