import type { CallContext } from 'nice-grpc';
import { uuidText } from '#common/crypto/uuid.ts';
import { failureOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { failpoint } from '#common/lifecycle/failpoint.ts';
import type {
  BatchConfirmation,
  BatchDecision,
  KeyAgreementServiceImplementation,
} from '#gen/keyweave/v1/key_agreement.ts';
import { agreedTerms } from './key-streams/agreed-terms.ts';
import { InitiatorSupply } from './key-streams/initiator-supply.ts';
import type { KeyStream } from './key-streams/key-stream.ts';
import { noRoom } from './key-streams/no-room.ts';
import type { Rendezvous } from './key-streams/rendezvous.ts';
import { answerRound, type ReceivedOffer } from './key-streams/responder-round.ts';
import type { StreamRegistry } from './key-streams/stream-registry.ts';
import type { StreamTerms } from './key-streams/stream-terms.ts';
import type { NodeServices } from './sources/node-services.ts';

/** How long the end of a stream waits for confirmations that are on their way. */
const SETTLE_LIMIT_MS = 1_000;

/** Batches, or confirmations, of one message. */
const MAX_BATCHES = 1024;

export interface AgreementServiceOptions {
  nodeUuid: string;
  services: NodeServices;
  registry: StreamRegistry;
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

  /** The stream, provided that it is this peer's; to anybody else it does not exist. */
  function streamOf(keyStreamId: Buffer, context: CallContext): KeyStream {
    const stream = registry.get(uuidText('key_stream_id', keyStreamId));
    if (!stream || stream.peerNode !== peerOf(context)) {
      throw new KeyweaveError('UNKNOWN_STREAM', 'this node knows no such stream');
    }
    return stream;
  }

  function exchangeOf(keyStreamId: Buffer, context: CallContext) {
    const exchange = registry.exchangeOf(streamOf(keyStreamId, context));
    if (!exchange) throw new KeyweaveError('BAD_REQUEST', 'this node is the initiator of the stream');
    return exchange;
  }

  async function decide(
    confirmations: readonly BatchConfirmation[],
    context: CallContext,
  ): Promise<BatchDecision[]> {
    if (confirmations.length > MAX_BATCHES) throw tooMany('confirmations');
    await failpoint('responder.confirm');
    const decisions = confirmations.map((confirmation): BatchDecision => {
      try {
        return exchangeOf(confirmation.keyStreamId, context).confirm(confirmation);
      } catch (thrown) {
        return { released: false, buffered: 0, failure: failureOf(thrown) };
      }
    });
    await failpoint('responder.decided');
    return decisions;
  }

  return {
    open: async (request, context) => {
      const peer = peerOf(context);
      try {
        const terms = agreedTerms(request, peer, {
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
      const stream = streamOf(request.keyStreamId, context);
      return { accepted: rendezvous.joinedByPeer(stream) };
    },
    produce: async ({ offers, confirmations }, context) => {
      if (offers.length > MAX_BATCHES) throw tooMany('offers');
      const decisions = await decide(confirmations, context);
      const received = offers.map((offer): ReceivedOffer => {
        try {
          return { offer, exchange: exchangeOf(offer.keyStreamId, context) };
        } catch (thrown) {
          return { offer, exchange: KeyweaveError.from(thrown) };
        }
      });
      return { answers: await answerRound(options.services, received), decisions };
    },
    confirm: async ({ confirmations }, context) => ({ decisions: await decide(confirmations, context) }),
    demand: async (request, context) => {
      const stream = streamOf(request.keyStreamId, context);
      if (!(stream.supply instanceof InitiatorSupply)) {
        throw new KeyweaveError('BAD_REQUEST', 'this node is the responder of the stream');
      }
      const room = stream.maxBufferedChunks - stream.buffer.size;
      const wanted = Math.min(Math.max(1, request.count), room);
      const failure =
        room < 1
          ? noRoom(stream)
          : await stream.supply.demand(wanted, request.waitedFor).then(() => undefined, KeyweaveError.from);
      return { buffered: stream.buffer.size, failure: failure && failureOf(failure) };
    },
    close: async (request, context) => {
      const stream = registry.get(uuidText('key_stream_id', request.keyStreamId));
      if (!stream || stream.peerNode !== peerOf(context)) return {};
      rendezvous.forget(stream);
      // What the other end has released and read may be released here only when its answer arrives.
      if (stream.supply instanceof InitiatorSupply) await stream.supply.settled(SETTLE_LIMIT_MS);
      stream.peerClosed('the other end has closed this stream');
      registry.exchangeOf(stream)?.abandon();
      if (stream.local !== 'joined') {
        registry.remove(stream);
        stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the other end has closed this stream'));
      }
      return {};
    },
  };
}

function tooMany(what: string): KeyweaveError {
  return new KeyweaveError('BAD_REQUEST', `one message carries at most ${MAX_BATCHES} ${what}`);
}

function peerOf(context: CallContext): string {
  const peer = context.metadata.get(PEER_METADATA);
  if (peer === undefined) throw new KeyweaveError('NOT_ALLOWED', 'the call names no peer node');
  return peer;
}
