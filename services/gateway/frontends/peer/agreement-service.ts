import { failureOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type Outcome, outcomeOf } from '#common/errors/outcome.ts';
import { uuidText } from '#common/ids/uuid.ts';
import { type Limit, MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { failpoint } from '#common/service/failpoint.ts';
import type { Clock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';
import type {
  BatchAnswer,
  BatchConfirmation,
  BatchDecision,
  BatchOffer,
  DemandAnswer,
  KeyAgreementServiceImplementation,
  OpenRequest,
  QkdReadiness,
  QkdReference,
  StreamDemand,
} from '#gen/keyweave/v1/key_agreement.ts';
import type { InitiatorOpening } from '../../opening/initiator-opening.ts';
import type { ResponderOpening } from '../../opening/responder-opening.ts';
import type { StreamEnds } from '../../opening/stream-ends.ts';
import { noRoom } from '../../production/no-room.ts';
import type { StreamStore } from '../../store/stream-store.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import type { Producer } from '../../streams/producer.ts';
import { boundedByPeer, peerOf } from './peer-calls.ts';
import { assertCloseText, assertOfferText } from './peer-text.ts';

/** What of the initiator's production the other end reaches. */
export interface InitiatorSide extends Producer {
  readonly role: 'initiator';
  /** @throws KeyweaveError */
  demand(count: number, waitedFor: boolean): void;
  settled(limitMs: number): Promise<void>;
}

/** What of the responder's production the other end reaches. */
export interface ResponderSide extends Producer {
  readonly role: 'responder';
  confirm(confirmation: BatchConfirmation): BatchDecision;
}

/** An offer, and what makes the chunks of its stream, or why there is none. */
export interface ReceivedOffer {
  readonly offer: BatchOffer;
  readonly producer: Outcome<ResponderSide>;
}

export interface AgreementServiceOptions {
  readonly store: Pick<StreamStore<KeyStream<InitiatorSide | ResponderSide>>, 'get'>;
  readonly initiator: Pick<InitiatorOpening, 'joinedByPeer' | 'over'>;
  readonly responder: Pick<ResponderOpening, 'offered'>;
  readonly ends: Pick<StreamEnds, 'closedByPeer'>;
  /** Answers the offers of one message together. */
  readonly rounds: {
    answer(offers: readonly ReceivedOffer[]): Promise<BatchAnswer[]>;
    prepare(reference: QkdReference, peer: string, nodeUuid: string): Promise<QkdReadiness>;
  };
  readonly nodeUuid: string;
  readonly clock: Pick<Clock, 'after'>;
}

/** What every message names its stream by. */
type StreamName = Pick<OpenRequest, 'keyStreamId' | 'incarnation'>;

/** How long the end of a stream waits for confirmations that are on their way, and how much of that before a Close is answered. */
const SETTLE_LIMIT_MS = 10_000;
const ANSWER_CLOSE_MS = 2_500;

/**
 * The gateway's side of KeyAgreement: what the other node's gateway asks of
 * this one. The own peer-broker, the only caller, has tied the peer's
 * certificate to the node UUID that comes as metadata.
 */
export function createAgreementService(options: AgreementServiceOptions): KeyAgreementServiceImplementation {
  const { store, initiator, responder, ends, rounds, nodeUuid, clock } = options;

  /** The stream, provided that it is this peer's and of this incarnation; to anybody else it does not exist. */
  function heldStream(named: StreamName, peer: string) {
    const stream = store.get(uuidText('key_stream_id', named.keyStreamId));
    const isTheirs = stream?.route.farNode === peer && stream.incarnation.equals(named.incarnation);
    return isTheirs ? stream : undefined;
  }

  function streamOf(named: StreamName, peer: string) {
    const stream = heldStream(named, peer);
    if (!stream) throw new KeyweaveError('UNKNOWN_STREAM', 'this node knows no such stream');
    return stream;
  }

  function responderOf(named: StreamName, peer: string): ResponderSide {
    const { producer } = streamOf(named, peer);
    if (producer.role === 'responder') return producer;
    throw new KeyweaveError('BAD_REQUEST', 'this node is the initiator of the stream');
  }

  async function decide(confirmations: readonly BatchConfirmation[], peer: string): Promise<BatchDecision[]> {
    assertFew(confirmations, 'confirmations', MESSAGE_LIMITS.confirmations);
    await failpoint('responder.confirm');
    const decisions = confirmations.map((confirmation): BatchDecision => {
      try {
        return responderOf(confirmation, peer).confirm(confirmation);
      } catch (thrown) {
        return { released: false, buffered: 0, failure: failureOf(thrown) };
      }
    });
    await failpoint('responder.decided');
    return decisions;
  }

  /** Notes what the other end wants, or says why that cannot be had; what is made goes there by itself. */
  function noteDemand(demand: StreamDemand, peer: string): DemandAnswer {
    try {
      const stream = streamOf(demand, peer);
      const { producer } = stream;
      if (producer.role !== 'initiator') {
        throw new KeyweaveError('BAD_REQUEST', 'this node is the responder of the stream');
      }
      stream.assertPeerRoom();
      const room = stream.maxBufferedChunks - stream.buffer.size;
      if (room < 1) throw noRoom(stream);
      const count = Math.min(Math.max(1, demand.count), room, stream.peerRoom);
      const note = () => producer.demand(count, demand.waitedFor);
      // Nothing is made before both ends have agreed on the size of the chunks.
      const opening = initiator.over(stream);
      if (opening) void opening.then(note).catch(() => undefined);
      else note();
      return { buffered: stream.buffer.size, failure: undefined };
    } catch (thrown) {
      return { buffered: 0, failure: failureOf(thrown) };
    }
  }

  return boundedByPeer({
    open: async (request, context) => {
      assertOfferText(request);
      return responder.offered(request, peerOf(context));
    },
    join: async (request, context) => {
      return { accepted: initiator.joinedByPeer(streamOf(request, peerOf(context))) };
    },
    produce: async ({ offers, confirmations, qkd }, context) => {
      const peer = peerOf(context);
      assertFew(offers, 'offers', MESSAGE_LIMITS.offers);
      const decisions = await decide(confirmations, peer);
      const received = offers.map((offer) => ({
        offer,
        producer: outcomeOf(() => responderOf(offer, peer)),
      }));
      const [answers, readiness] = await Promise.all([
        rounds.answer(received),
        qkd && rounds.prepare(qkd, peer, nodeUuid),
      ]);
      return { answers, decisions, qkd: readiness };
    },
    confirm: async ({ confirmations }, context) => ({
      decisions: await decide(confirmations, peerOf(context)),
    }),
    demand: async ({ demands }, context) => {
      const peer = peerOf(context);
      assertFew(demands, 'demands', MESSAGE_LIMITS.demands);
      return { answers: demands.map((demand) => noteDemand(demand, peer)) };
    },
    close: async (request, context) => {
      assertCloseText(request.reason);
      const stream = heldStream(request, peerOf(context));
      if (!stream) return {};
      const { producer } = stream;
      // What the other end has released and read may be released here only when its answer arrives.
      const settled = producer.role === 'initiator' ? producer.settled(SETTLE_LIMIT_MS) : Promise.resolve();
      const ended = settled.then(() => ends.closedByPeer(stream));
      await waitFor(ended, ANSWER_CLOSE_MS, undefined, clock);
      return {};
    },
  });
}

function assertFew(list: readonly unknown[], what: string, { taken }: Limit): void {
  if (list.length > taken) {
    throw new KeyweaveError(
      'BAD_REQUEST',
      `one message carries at most ${taken} ${what}, not ${list.length}`,
    );
  }
}
