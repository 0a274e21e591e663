import { Metadata } from 'nice-grpc';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import type { GrpcConnection, ServiceClient } from '#common/grpc/client.ts';
import { CallTurns } from '#common/limits/call-turns.ts';
import { type AgreementMethod, CALL_LIMITS } from '#common/limits/message-limits.ts';
import {
  type CloseRequest,
  type ConfirmRequest,
  type ConfirmResponse,
  type DemandAnswer,
  type JoinRequest,
  type JoinResponse,
  KeyAgreementDefinition,
  type OpenRequest,
  type OpenResponse,
  type ProduceRequest,
  type ProduceResponse,
  type StreamDemand,
} from '#gen/keyweave/v1/key_agreement.ts';
import { DemandMessenger } from './demand-messenger.ts';
import { STEP_TIMEOUT_MS } from './node-services.ts';

/** The KeyAgreement of one peer node, reached through the own peer-broker. */
export interface PeerLink {
  open(request: OpenRequest, timeoutMs: number): Promise<OpenResponse>;
  join(request: JoinRequest, timeoutMs: number): Promise<JoinResponse>;
  produce(request: ProduceRequest, timeoutMs: number): Promise<ProduceResponse>;
  confirm(request: ConfirmRequest, timeoutMs: number): Promise<ConfirmResponse>;
  /** Travels with the demands of other streams. */
  demand(demand: StreamDemand): Promise<DemandAnswer>;
  close(request: CloseRequest, timeoutMs: number): Promise<unknown>;
}

/**
 * Addresses every call to `peerNode`; errors are KeyweaveErrors,
 * PEER_UNREACHABLE among them. Of each method so many calls are under way at a
 * time; the others wait for their turn within their own timeouts.
 */
export function createPeerLink(broker: ServiceClient<KeyAgreementDefinition>, peerNode: string): PeerLink {
  const options = (timeoutMs: number) => ({ timeoutMs, metadata: Metadata({ [PEER_METADATA]: peerNode }) });
  function limited<Q, R>(method: AgreementMethod, call: (request: Q, leftMs: number) => Promise<R>) {
    const turns = new CallTurns(CALL_LIMITS[method].filled);
    return (request: Q, timeoutMs: number) => turns.run(timeoutMs, (leftMs) => call(request, leftMs));
  }
  const demands = new DemandMessenger((request) => broker.demand(request, options(STEP_TIMEOUT_MS.demand)));
  return {
    open: limited('open', (request: OpenRequest, leftMs) => broker.open(request, options(leftMs))),
    join: limited('join', (request: JoinRequest, leftMs) => broker.join(request, options(leftMs))),
    produce: limited('produce', (request: ProduceRequest, leftMs) =>
      broker.produce(request, options(leftMs)),
    ),
    confirm: limited('confirm', (request: ConfirmRequest, leftMs) =>
      broker.confirm(request, options(leftMs)),
    ),
    demand: (demand) => demands.ask(demand),
    close: limited('close', (request: CloseRequest, leftMs) => broker.close(request, options(leftMs))),
  };
}

/**
 * The agreements with all peers. Each has a connection to the own broker to
 * itself: calls that one peer leaves unanswered never take the room of another's.
 */
export class PeerLinks {
  readonly #connect: () => GrpcConnection;
  readonly #peers = new Map<string, { connection: GrpcConnection; agreement: PeerLink }>();

  /** @param connect makes one connection to the own peer-broker. */
  constructor(connect: () => GrpcConnection) {
    this.#connect = connect;
  }

  /** The agreement with a trusted peer. */
  of(peerNode: string): PeerLink {
    let peer = this.#peers.get(peerNode);
    if (!peer) {
      const connection = this.#connect();
      const agreement = createPeerLink(connection.client(KeyAgreementDefinition), peerNode);
      peer = { connection, agreement };
      this.#peers.set(peerNode, peer);
    }
    return peer.agreement;
  }

  close(): void {
    for (const { connection } of this.#peers.values()) connection.close();
    this.#peers.clear();
  }
}
