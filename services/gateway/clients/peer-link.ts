import { Metadata } from 'nice-grpc';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import type { GrpcConnection, ServiceClient } from '#common/grpc/client.ts';
import { CallTurns } from '#common/limits/call-turns.ts';
import { type AgreementMethod, CALL_LIMITS } from '#common/limits/message-limits.ts';
import type { Clock } from '#common/time/clock.ts';
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
import { STEP_TIMEOUT_MS } from './step-limits.ts';

/** The KeyAgreement of the gateway of one other node; errors are KeyweaveErrors, PEER_UNREACHABLE among them. */
export interface PeerLink {
  /** @param timeoutMs at most the limit of the step; less where an application has less time left. */
  open(request: OpenRequest, timeoutMs?: number): Promise<OpenResponse>;
  join(request: JoinRequest, timeoutMs?: number): Promise<JoinResponse>;
  produce(request: ProduceRequest): Promise<ProduceResponse>;
  confirm(request: ConfirmRequest): Promise<ConfirmResponse>;
  /** Travels with the demands of other streams. */
  demand(demand: StreamDemand): Promise<DemandAnswer>;
  close(request: CloseRequest): Promise<unknown>;
}

/** The ways to all other nodes. */
export interface PeerLinks {
  to(farNode: string): PeerLink;
}

/**
 * Addresses every call to `farNode` through the own peer-broker. Of each method
 * so many calls are under way at a time; the others wait for their turn within
 * their own timeouts.
 */
export function createPeerLink(
  broker: ServiceClient<KeyAgreementDefinition>,
  farNode: string,
  clock: Clock,
): PeerLink {
  const options = (timeoutMs: number) => ({ timeoutMs, metadata: Metadata({ [PEER_METADATA]: farNode }) });
  function limited<Q, R>(
    method: AgreementMethod,
    limitMs: number,
    call: (request: Q, leftMs: number) => Promise<R>,
  ) {
    const turns = new CallTurns(CALL_LIMITS[method].filled, clock);
    return (request: Q, timeoutMs = limitMs) =>
      turns.run(Math.min(limitMs, timeoutMs), (leftMs) => call(request, leftMs));
  }
  const { rendezvous, produce, confirm, demand, close } = STEP_TIMEOUT_MS;
  const demands = new DemandMessenger((request) => broker.demand(request, options(demand)), clock);
  return {
    open: limited('open', rendezvous, (request: OpenRequest, leftMs) =>
      broker.open(request, options(leftMs)),
    ),
    join: limited('join', rendezvous, (request: JoinRequest, leftMs) =>
      broker.join(request, options(leftMs)),
    ),
    produce: limited('produce', produce, (request: ProduceRequest, leftMs) =>
      broker.produce(request, options(leftMs)),
    ),
    confirm: limited('confirm', confirm, (request: ConfirmRequest, leftMs) =>
      broker.confirm(request, options(leftMs)),
    ),
    demand: (one) => demands.ask(one),
    close: limited('close', close, (request: CloseRequest, leftMs) => broker.close(request, options(leftMs))),
  };
}

/**
 * The links to all peers. Each has a connection to the own broker to itself:
 * calls that one peer leaves unanswered never take the room of another's.
 */
export class BrokerLinks implements PeerLinks {
  readonly #connect: () => GrpcConnection;
  readonly #clock: Clock;
  readonly #byNode = new Map<string, { connection: GrpcConnection; link: PeerLink }>();

  /** @param connect makes one connection to the own peer-broker. */
  constructor(connect: () => GrpcConnection, clock: Clock) {
    this.#connect = connect;
    this.#clock = clock;
  }

  to(farNode: string): PeerLink {
    let known = this.#byNode.get(farNode);
    if (!known) {
      const connection = this.#connect();
      known = {
        connection,
        link: createPeerLink(connection.client(KeyAgreementDefinition), farNode, this.#clock),
      };
      this.#byNode.set(farNode, known);
    }
    return known.link;
  }

  close(): void {
    for (const { connection } of this.#byNode.values()) connection.close();
    this.#byNode.clear();
  }
}
