import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { connect, type GrpcConnection } from '#common/grpc/client.ts';
import type { ServiceContext } from '#common/lifecycle/service-context.ts';
import { rawKeyAgreement } from './raw-key-agreement.ts';
import type { RawClient } from './relay.ts';

/** The trusted peers of this node, each with one lazily opened connection to its broker. */
export class PeerDirectory {
  readonly #context: ServiceContext;
  readonly #connections = new Map<string, { connection: GrpcConnection; client: RawClient }>();

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  /** @throws KeyweaveError NO_ROUTE when the node is not among the trusted peers. */
  clientOf(peerNode: string): RawClient {
    const known = this.#connections.get(peerNode);
    if (known) return known.client;
    const entry = Object.hasOwn(this.#context.peers, peerNode) ? this.#context.peers[peerNode] : undefined;
    if (!entry || peerNode === this.#context.config.uuid) {
      throw new KeyweaveError('NO_ROUTE', `node ${peerNode} is not among this node's trusted peers`);
    }
    const connection = connect({
      context: this.#context,
      address: entry.address,
      nodeUuid: peerNode,
      service: 'peer-broker',
      unreachable: 'PEER_UNREACHABLE',
    });
    const client = connection.client(rawKeyAgreement) as RawClient;
    this.#connections.set(peerNode, { connection, client });
    return client;
  }

  close(): void {
    for (const { connection } of this.#connections.values()) connection.close();
    this.#connections.clear();
  }
}
