import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { connect, type GrpcConnection, type ServiceClient } from '#common/grpc/client.ts';
import type { ServiceContext } from '#common/service/service-context.ts';
import { HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { rawKeyAgreement } from './raw-key-agreement.ts';
import type { RawClient } from './relay.ts';

/**
 * Connects to a trusted peer's broker.
 *
 * @throws KeyweaveError NO_ROUTE when the node is not among the trusted peers.
 */
export function connectPeer(context: ServiceContext, peerNode: string): GrpcConnection {
  const entry = Object.hasOwn(context.peers, peerNode) ? context.peers[peerNode] : undefined;
  if (!entry || peerNode === context.config.uuid) {
    throw new KeyweaveError('NO_ROUTE', `node ${peerNode} is not among this node's trusted peers`);
  }
  return connect({
    context,
    address: entry.address,
    nodeUuid: peerNode,
    service: 'peer-broker',
    unreachable: 'PEER_UNREACHABLE',
  });
}

/** One lazily opened connection for each peer, with its client. */
export class PeerClients {
  readonly #connect: (peerNode: string) => GrpcConnection;
  readonly #connections = new Map<string, { connection: GrpcConnection; client: RawClient }>();

  /** @param connect makes the connection of a peer, or throws where there is none. */
  constructor(connect: (peerNode: string) => GrpcConnection) {
    this.#connect = connect;
  }

  /** @throws what `connect` throws. */
  of(peerNode: string): RawClient {
    let known = this.#connections.get(peerNode);
    if (!known) {
      const connection = this.#connect(peerNode);
      known = { connection, client: connection.client(rawKeyAgreement) as RawClient };
      this.#connections.set(peerNode, known);
    }
    return known.client;
  }

  /** For asking whether the peer serves, over the connection that its calls go by. @throws what `connect` throws. */
  health(peerNode: string): ServiceClient<HealthDefinition> {
    this.of(peerNode);
    return (this.#connections.get(peerNode) as { connection: GrpcConnection }).connection.client(
      HealthDefinition,
    );
  }

  /** Ends the connection of a peer that is trusted no more or is somewhere else; the next call makes a new one, if any. */
  forget(peerNode: string): void {
    this.#connections.get(peerNode)?.connection.close();
    this.#connections.delete(peerNode);
  }

  close(): void {
    for (const { connection } of this.#connections.values()) connection.close();
    this.#connections.clear();
  }
}
