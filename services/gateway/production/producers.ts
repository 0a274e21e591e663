import type { NodeConfig } from '#common/config/node-config.ts';
import type { Random } from '#common/crypto/random.ts';
import { failureOf } from '#common/errors/failure.ts';
import type { Log } from '#common/log/log.ts';
import type { Clock } from '#common/time/clock.ts';
import type { BatchAnswer, QkdReadiness, QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLinks } from '../clients/peer-link.ts';
import type { QkdClient } from '../clients/qkd-client.ts';
import { Reservoirs, type ReservoirsOptions } from '../reservoirs/reservoirs.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamFacts } from '../streams/stream-events.ts';
import { Confirmations } from './initiator/confirmations.ts';
import { InitiatorProducer } from './initiator/initiator-producer.ts';
import { InitiatorRound } from './initiator/initiator-round.ts';
import { type Round, RoundScheduler } from './initiator/round-scheduler.ts';
import { ResponderProducer } from './responder/responder-producer.ts';
import { type ReceivedOffer, ResponderRound } from './responder/responder-round.ts';
import type { RoundTools } from './round-tools.ts';

/** Stands around the halves of a round, to see what becomes of the batches: of which stream, first index and number of chunks each is. */
export type WatchRound = (round: Round, batches: readonly OfferedBatch[]) => Round;

export interface OfferedBatch {
  readonly stream: StreamFacts;
  readonly first: number;
  readonly count: number;
}

export interface ProducersOptions extends RoundTools {
  readonly watchRound?: WatchRound | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly links: PeerLinks;
  readonly limits: Pick<NodeConfig['limits'], 'max_batch_chunks'>;
  readonly qkd: QkdClient;
  readonly random: Random;
  readonly qkdSettings: ReservoirsOptions['settings'];
}

/** Makes what makes the chunks of each end, and answers the rounds of other nodes. */
export class Producers {
  readonly #o: ProducersOptions;
  readonly reservoirs: Reservoirs;
  /** One for each other node, made when it is first needed. */
  readonly #schedulers = new Map<string, RoundScheduler>();

  constructor(options: ProducersOptions) {
    const { qkd, clock, log, links, random, qkdSettings: settings } = options;
    this.#o = options;
    this.reservoirs = new Reservoirs({ qkd, clock, log, links, random, settings });
  }

  initiator(stream: KeyStream): InitiatorProducer {
    const { clock, log, limits } = this.#o;
    return new InitiatorProducer(stream, {
      clock,
      log,
      rounds: this.#schedulerOf(stream.route.farNode),
      reservoirs: this.reservoirs,
      maxBatchChunks: limits.max_batch_chunks,
    });
  }

  responder(stream: KeyStream): ResponderProducer {
    const { clock, log, links } = this.#o;
    const link = links.to(stream.route.farNode);
    return new ResponderProducer(stream, { clock, log, link, reservoirs: this.reservoirs });
  }

  /** The responder's half of a round: an answer for each offer of one other node; never rejects. */
  answer(offers: readonly ReceivedOffer[]): Promise<BatchAnswer[]> {
    const maxBatchChunks = this.#o.limits.max_batch_chunks;
    return new ResponderRound({ tools: this.#o, maxBatchChunks, offers }).answer();
  }

  /** Opens the QKD keys that `peer` names, for its streams here; never rejects. */
  async prepare(reference: QkdReference, peer: string, nodeUuid: string): Promise<QkdReadiness> {
    try {
      const reservoir = this.reservoirs.responder(reference, { initiator: peer, responder: nodeUuid });
      await reservoir.prepare(reference);
      return { failure: undefined, blockKeys: reservoir.givenBlockKeys };
    } catch (thrown) {
      return { failure: failureOf(thrown), blockKeys: 0 };
    }
  }

  #schedulerOf(node: string): RoundScheduler {
    let scheduler = this.#schedulers.get(node);
    if (!scheduler) {
      const tools = this.#o;
      const link = tools.links.to(node);
      const confirmations = new Confirmations(link, tools.clock);
      scheduler = new RoundScheduler((batches) => {
        const round = new InitiatorRound({ tools, link, confirmations, batches });
        return tools.watchRound?.(round, batches) ?? round;
      }, tools.clock);
      this.#schedulers.set(node, scheduler);
    }
    return scheduler;
  }
}
