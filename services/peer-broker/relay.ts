import type { CallContext } from 'nice-grpc';
import { Metadata } from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { callerOf, PEER_METADATA } from '#common/grpc/callers.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import { TIMEOUT_METADATA } from '#common/grpc/deadline.ts';
import { CallsUnderWay } from '#common/limits/calls-under-way.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import { parseSpiffeId } from '#common/tls/spiffe.ts';
import { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import { METHODS, type RawKeyAgreementDefinition } from './raw-key-agreement.ts';

/** What is left for the next hop of the time that a call has, milliseconds. */
const HOP_MARGIN_MS = 20;
const LONGEST_CALL_MS = 180_000;

export type RawClient = ServiceClient<RawKeyAgreementDefinition>;

type RawMethod = (request: Buffer, context: CallContext) => Promise<Buffer>;
export type RawService = Record<keyof RawKeyAgreementDefinition, RawMethod>;

/** Where a call goes, and the peer on whose account it is. */
interface Route {
  readonly peer: string;
  readonly client: RawClient;
  readonly metadata: Metadata;
}

/** From the own gateway to the peer that the call names. */
export function createOutboundRelay(clientOf: (peerNode: string) => RawClient): RawService {
  return relay((context) => {
    const peer = context.metadata.get(PEER_METADATA);
    if (peer === undefined) throw new KeyweaveError('BAD_REQUEST', 'the call names no peer node');
    return { peer, client: clientOf(peer), metadata: Metadata() };
  });
}

/**
 * From a peer's broker to the own gateway. The peer's node is taken from its
 * certificate; what the call itself claims is not passed on. The version of
 * offers is read here, so that nodes that do not speak the same language part
 * before anything else happens; algorithms are the gateway's to compare, which
 * can tell the application that waits for the offer.
 *
 * @param gatewayFor the connection to the own gateway that serves this peer alone.
 */
export function createInboundRelay(
  gatewayFor: (peerNode: string) => RawClient,
  nodeUuid: string,
): RawService {
  const relayed = relay((context) => {
    const peer = peerOf(context);
    return { peer, client: gatewayFor(peer), metadata: Metadata({ [PEER_METADATA]: peer }) };
  });
  return {
    ...relayed,
    open: async (bytes, context) => {
      checkOffer(bytes, peerOf(context), nodeUuid);
      return relayed.open(bytes, context);
    },
  };
}

/** Passes calls on; each peer has so many of each method under way, and what is more is refused at once. */
function relay(route: (context: CallContext) => Route): RawService {
  const calls = new CallsUnderWay();
  const method =
    (name: keyof RawKeyAgreementDefinition): RawMethod =>
    async (request, context) => {
      const { peer, client, metadata } = route(context);
      const options = { metadata, signal: context.signal, timeoutMs: timeLeftMs(context) };
      return calls.run(peer, name, () => client[name](request, options));
    };
  return Object.fromEntries(METHODS.map((name) => [name, method(name)])) as RawService;
}

/** The deadline came with the call; each hop keeps a little so that it can still report the failure of the next. */
function timeLeftMs(context: CallContext): number {
  const text = context.metadata.get(TIMEOUT_METADATA);
  const asked = text === undefined ? LONGEST_CALL_MS : Number(text);
  if (!Number.isFinite(asked) || asked <= 0)
    throw new KeyweaveError('BAD_REQUEST', 'the call has no valid deadline');
  return Math.max(1, Math.min(asked, LONGEST_CALL_MS) - HOP_MARGIN_MS);
}

function peerOf(context: CallContext): string {
  const identity = parseSpiffeId(callerOf(context.metadata));
  if (!identity) throw new KeyweaveError('NOT_ALLOWED', 'the certificate names no node');
  return identity.nodeUuid;
}

function checkOffer(bytes: Buffer, peer: string, nodeUuid: string): void {
  let offer: OpenRequest;
  try {
    offer = OpenRequest.decode(bytes);
  } catch (cause) {
    throw new KeyweaveError('BAD_REQUEST', 'the offer cannot be read', { cause });
  }
  if (offer.protocolVersion !== PROTOCOL_VERSION) {
    throw new KeyweaveError(
      'REVISION_MISMATCH',
      `node ${nodeUuid} speaks version ${PROTOCOL_VERSION} of the agreement, node ${peer} version ${offer.protocolVersion}`,
    );
  }
}
