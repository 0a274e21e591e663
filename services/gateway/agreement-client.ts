import { Metadata } from 'nice-grpc';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import type {
  CloseRequest,
  ConfirmRequest,
  ConfirmResponse,
  DemandRequest,
  DemandResponse,
  JoinRequest,
  JoinResponse,
  KeyAgreementDefinition,
  OpenRequest,
  OpenResponse,
  ProduceRequest,
  ProduceResponse,
} from '#gen/keyweave/v1/key_agreement.ts';

/** The KeyAgreement of one peer node, reached through the own peer-broker. */
export interface PeerAgreement {
  open(request: OpenRequest, timeoutMs: number): Promise<OpenResponse>;
  join(request: JoinRequest, timeoutMs: number): Promise<JoinResponse>;
  produce(request: ProduceRequest, timeoutMs: number): Promise<ProduceResponse>;
  confirm(request: ConfirmRequest, timeoutMs: number): Promise<ConfirmResponse>;
  demand(request: DemandRequest, timeoutMs: number): Promise<DemandResponse>;
  close(request: CloseRequest, timeoutMs: number): Promise<unknown>;
}

/** Addresses every call to `peerNode`; errors are KeyweaveErrors, PEER_UNREACHABLE among them. */
export function createPeerAgreement(
  broker: ServiceClient<KeyAgreementDefinition>,
  peerNode: string,
): PeerAgreement {
  const options = (timeoutMs: number) => ({ timeoutMs, metadata: Metadata({ [PEER_METADATA]: peerNode }) });
  return {
    open: (request, timeoutMs) => broker.open(request, options(timeoutMs)),
    join: (request, timeoutMs) => broker.join(request, options(timeoutMs)),
    produce: (request, timeoutMs) => broker.produce(request, options(timeoutMs)),
    confirm: (request, timeoutMs) => broker.confirm(request, options(timeoutMs)),
    demand: (request, timeoutMs) => broker.demand(request, options(timeoutMs)),
    close: (request, timeoutMs) => broker.close(request, options(timeoutMs)),
  };
}
