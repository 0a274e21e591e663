import { findKemAlgorithm } from '#common/catalogue/kems.ts';
import { findMethod } from '#common/catalogue/methods.ts';
import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { quote } from '#common/etsi/application-uri.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import type { Failure, SourceSlot } from '#gen/keyweave/v1/common.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import {
  readStreamTerms,
  STAND_IN,
  type StreamTerms,
  termsInWords,
  withEnoughSecrets,
} from '../streams/stream-terms.ts';

/** What the reader of an offer says of itself. */
export interface OwnNode {
  readonly nodeUuid: string;
  /** Whether its policy lets a shared_seed stand in for a source of a stream with `farNode`. */
  mayDegrade(farNode: string): boolean;
}

/**
 * Reads an offer and checks that both nodes, and the application's URI, mean
 * the same by it. Nothing that the peer says is believed: what the URI names
 * counts, and the offer only for what it leaves out.
 *
 * @throws KeyweaveError REVISION_MISMATCH, UNSUPPORTED, NO_ROUTE; where the
 *   peer says itself why it does not open what it offers, that; BAD_REQUEST
 *   where it has no right to say that of others' applications.
 */
export function offerTerms(request: OpenRequest, peer: string, own: OwnNode): StreamTerms {
  const { nodeUuid } = own;
  if (request.protocolVersion !== PROTOCOL_VERSION) {
    throw new KeyweaveError(
      'REVISION_MISMATCH',
      `node ${nodeUuid} speaks version ${PROTOCOL_VERSION} of the agreement, the other node ${request.protocolVersion}`,
    );
  }
  const offersStandIn = request.slots.at(-1)?.algorithm === STAND_IN;
  const offered = (offersStandIn ? request.slots.slice(0, -1) : request.slots).map(nameOf);
  const said = readStreamTerms(request.source, request.destination, {
    method: request.method,
    keySources: offered,
  });
  if (said.sourceNode !== peer || said.destinationNode !== nodeUuid) {
    throw new KeyweaveError('NO_ROUTE', 'the offer is not from its source node to its destination node');
  }
  if (request.refusal) throw peerRefusal(request.refusal);
  assertAsSaid(said, request.method, offered, peer);
  const terms = withEnoughSecrets(said, standInPolicy(request, peer, own, offersStandIn));
  if (terms.slots.length !== request.slots.length) {
    throw new KeyweaveError(
      'UNSUPPORTED',
      `the offer of node ${peer} lets a shared_seed stand in where ${termsInWords(said.method.name, offered)} needs none`,
    );
  }
  for (const [i, slot] of terms.slots.entries())
    assertSameSlot(slot, request.slots[i] as SourceSlot, { nodeUuid, peer });
  return terms;
}

/** Whether a refusal holds for whoever opens this stream, so that no application need wait for it. */
export function isForAll(thrown: unknown): boolean {
  return isReason(thrown, 'REVISION_MISMATCH', 'UNSUPPORTED');
}

function peerRefusal(failure: Failure): KeyweaveError {
  const refusal = errorOf(failure);
  if (isForAll(refusal)) return refusal;
  return new KeyweaveError('BAD_REQUEST', `nobody is told of an offer that is refused for ${refusal.reason}`);
}

function standInPolicy(
  { allowDegraded }: OpenRequest,
  peer: string,
  own: OwnNode,
  offersStandIn: boolean,
): { mayDegrade: boolean; barredBy?: string } {
  if (!offersStandIn || !allowDegraded) return { mayDegrade: false, barredBy: peer };
  return own.mayDegrade(peer) ? { mayDegrade: true } : { mayDegrade: false, barredBy: own.nodeUuid };
}

/** The application at this end has named method and sources, too: it must not get others than those. */
function assertAsSaid(said: StreamTerms, method: string, offered: readonly string[], peer: string): void {
  const names = said.slots.map((slot) => slot.algorithm);
  const same =
    findMethod(method) === said.method &&
    names.length === offered.length &&
    names.every((name, i) => name === offered[i]);
  if (same) return;
  const listed = offered.length > 16 ? [...offered.slice(0, 16), '…'] : offered;
  throw new KeyweaveError(
    'REVISION_MISMATCH',
    `the application's URI says ${termsInWords(said.method.name, names)}; ` +
      `the offer of node ${peer} says ${termsInWords(findMethod(method)?.name ?? quote(method), listed)}`,
  );
}

function assertSameSlot(
  own: SourceSlot,
  offered: SourceSlot,
  { nodeUuid, peer }: { nodeUuid: string; peer: string },
): void {
  if (
    own.revision !== offered.revision ||
    own.publicKeyBytes !== offered.publicKeyBytes ||
    own.ciphertextBytes !== offered.ciphertextBytes ||
    own.sharedSecretBytes !== offered.sharedSecretBytes
  ) {
    throw new KeyweaveError(
      'REVISION_MISMATCH',
      `${own.algorithm} is ${inWords(own)} at node ${nodeUuid} and ${inWords(offered)} at node ${peer}`,
    );
  }
}

/** The name by which this node knows a source, or what the offer says where it knows none. */
function nameOf({ algorithm }: SourceSlot): string {
  if (algorithm.toUpperCase() === 'QKD') return 'QKD';
  return findKemAlgorithm(algorithm)?.name ?? algorithm;
}

function inWords(slot: SourceSlot): string {
  const sizes = `${slot.publicKeyBytes}/${slot.ciphertextBytes}/${slot.sharedSecretBytes}`;
  return `revision '${slot.revision}' of ${sizes} bytes (public key/ciphertext/secret)`;
}
