import type { CallContext } from 'nice-grpc';
import { failureOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { uuidText } from '#common/ids/uuid.ts';
import { CallsUnderWay } from '#common/limits/calls-under-way.ts';
import { type AgreementMethod, type Limit, MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { failpoint } from '#common/service/failpoint.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type {
  BatchConfirmation,
  BatchDecision,
  DemandAnswer,
  KeyAgreementServiceImplementation,
  OpenRequest,
  StreamDemand,
} from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from '../../clients/node-services.ts';
import { offerTerms } from '../../opening/offer-terms.ts';
import type { Rendezvous } from '../../opening/rendezvous.ts';
import { InitiatorProducer } from '../../production/initiator/initiator-producer.ts';
import { noRoom } from '../../production/no-room.ts';
import { answerRound, type ReceivedOffer } from '../../production/responder/responder-round.ts';
import type { MemoryStreamStore } from '../../store/memory-stream-store.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import type { StreamTerms } from '../../streams/stream-terms.ts';
import { assertCloseText, assertOfferText } from './peer-text.ts';

/** What every message names its stream by. */
type StreamName = Pick<OpenRequest, 'keyStreamId' | 'incarnation'>;

/** How long the end of a stream waits for confirmations that are on their way, and how much of that before a Close is answered. */
const SETTLE_LIMIT_MS = 10_000;
const ANSWER_CLOSE_MS = 2_500;

export interface AgreementServiceOptions {
  nodeUuid: string;
  services: NodeServices;
  registry: MemoryStreamStore;
  rendezvous: Rendezvous;
  assertUsable(terms: StreamTerms): Promise<void>;
}

/**
 * The gateway's side of KeyAgreement: what the other node's gateway asks of
 * this one. The own peer-broker, the only caller, has tied the peer's
 * certificate to the node UUID that comes as metadata.
 */
export function createAgreementService(options: AgreementServiceOptions): KeyAgreementServiceImplementation {
  const { registry, rendezvous } = options;

  /** The stream, provided that it is this peer's and of this incarnation; to anybody else it does not exist. */
  function heldStream(named: StreamName, context: CallContext): KeyStream | undefined {
    const stream = registry.get(uuidText('key_stream_id', named.keyStreamId));
    const isTheirs = stream?.peerNode === peerOf(context) && stream.incarnation.equals(named.incarnation);
    return isTheirs ? stream : undefined;
  }

  function streamOf(named: StreamName, context: CallContext): KeyStream {
    const stream = heldStream(named, context);
    if (!stream) throw new KeyweaveError('UNKNOWN_STREAM', 'this node knows no such stream');
    return stream;
  }

  function exchangeOf(named: StreamName, context: CallContext) {
    const exchange = registry.exchangeOf(streamOf(named, context));
    if (!exchange) throw new KeyweaveError('BAD_REQUEST', 'this node is the initiator of the stream');
    return exchange;
  }

  async function decide(
    confirmations: readonly BatchConfirmation[],
    context: CallContext,
  ): Promise<BatchDecision[]> {
    assertFew(confirmations, 'confirmations', MESSAGE_LIMITS.confirmations);
    await failpoint('responder.confirm');
    const decisions = confirmations.map((confirmation): BatchDecision => {
      try {
        return exchangeOf(confirmation, context).confirm(confirmation);
      } catch (thrown) {
        return { released: false, buffered: 0, failure: failureOf(thrown) };
      }
    });
    await failpoint('responder.decided');
    return decisions;
  }

  /** Notes what the other end wants, or says why that cannot be had; what is made goes there by itself. */
  function noteDemand(demand: StreamDemand, context: CallContext): DemandAnswer {
    try {
      const stream = streamOf(demand, context);
      const { supply } = stream;
      if (!(supply instanceof InitiatorProducer)) {
        throw new KeyweaveError('BAD_REQUEST', 'this node is the responder of the stream');
      }
      stream.assertPeerRoom();
      const room = stream.maxBufferedChunks - stream.buffer.size;
      if (room < 1) throw noRoom(stream);
      const count = Math.min(Math.max(1, demand.count), room, stream.peerRoom);
      const note = () => supply.demand(count, demand.waitedFor);
      // Nothing is made before both ends have agreed on the size of the chunks.
      const opening = rendezvous.openingOver(stream);
      if (opening) void opening.then(note).catch(() => undefined);
      else note();
      return { buffered: stream.buffer.size, failure: undefined };
    } catch (thrown) {
      return { buffered: 0, failure: failureOf(thrown) };
    }
  }

  return boundedByPeer({
    open: async (request, context) => {
      const peer = peerOf(context);
      assertOfferText(request);
      try {
        const terms = offerTerms(request, peer, {
          nodeUuid: options.nodeUuid,
          mayStandIn: () => rendezvous.mayDegrade(peer),
        });
        await options.assertUsable(terms);
        return rendezvous.offered(request, terms, peer);
      } catch (thrown) {
        // The application at this end shall learn why, too, and at once.
        if (isReason(thrown, 'REVISION_MISMATCH', 'UNSUPPORTED'))
          rendezvous.refuseWaiting(request, peer, thrown);
        throw thrown;
      }
    },
    join: async (request, context) => {
      const stream = streamOf(request, context);
      return { accepted: rendezvous.joinedByPeer(stream) };
    },
    produce: async ({ offers, confirmations }, context) => {
      assertFew(offers, 'offers', MESSAGE_LIMITS.offers);
      const decisions = await decide(confirmations, context);
      const received = offers.map((offer): ReceivedOffer => {
        try {
          return { offer, exchange: exchangeOf(offer, context) };
        } catch (thrown) {
          return { offer, exchange: KeyweaveError.from(thrown) };
        }
      });
      return { answers: await answerRound(options.services, received), decisions };
    },
    confirm: async ({ confirmations }, context) => ({ decisions: await decide(confirmations, context) }),
    demand: async ({ demands }, context) => {
      assertFew(demands, 'demands', MESSAGE_LIMITS.demands);
      return { answers: demands.map((demand) => noteDemand(demand, context)) };
    },
    close: async (request, context) => {
      assertCloseText(request.reason);
      const stream = heldStream(request, context);
      if (!stream) return {};
      // What the other end has released and read may be released here only when its answer arrives.
      const settled =
        stream.supply instanceof InitiatorProducer
          ? stream.supply.settled(SETTLE_LIMIT_MS)
          : Promise.resolve();
      await waitFor(
        settled.then(() => endedByPeer(stream)),
        ANSWER_CLOSE_MS,
      );
      return {};
    },
  });

  function endedByPeer(stream: KeyStream): void {
    stream.peerClosed('the other end has closed this stream');
    if (stream.local === 'joined') return;
    registry.remove(stream);
    registry.ended.note(stream);
    stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the other end has closed this stream'));
  }
}

/**
 * Limits the calls of each peer that are being worked on. The broker limits
 * those under way, but what a peer cancels goes on here until it is done.
 */
function boundedByPeer(service: KeyAgreementServiceImplementation): KeyAgreementServiceImplementation {
  const calls = new CallsUnderWay();
  function bounded<Q, R>(
    method: AgreementMethod,
    handler: (request: Q, context: CallContext) => Promise<R>,
  ): (request: Q, context: CallContext) => Promise<R> {
    return async (request, context) => calls.run(peerOf(context), method, () => handler(request, context));
  }
  return {
    open: bounded('open', service.open),
    join: bounded('join', service.join),
    produce: bounded('produce', service.produce),
    confirm: bounded('confirm', service.confirm),
    demand: bounded('demand', service.demand),
    close: bounded('close', service.close),
  };
}

function assertFew(list: readonly unknown[], what: string, { taken }: Limit): void {
  if (list.length > taken) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `one message carries at most ${taken} ${what}, not ${list.length}`,
    );
  }
}

function peerOf(context: CallContext): string {
  const peer = context.metadata.get(PEER_METADATA);
  if (peer === undefined) throw new KeyweaveError('NOT_ALLOWED', 'the call names no peer node');
  return peer;
}
