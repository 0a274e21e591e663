import type { NodeConfig } from '#common/config/node-config.ts';
import type { Log } from '#common/log/log.ts';
import type { Clock } from '#common/time/clock.ts';
import type { BatchAnswer } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLinks } from '../clients/peer-link.ts';
import type { QkdStreamTools } from '../clients/qkd-stream.ts';
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
  readonly qkdSettings: Pick<NodeConfig['qkd'], 'join' | 'block_keys'>;
}

/** Makes what makes the chunks of each end, and answers the rounds of other nodes. */
export class Producers {
  readonly #o: ProducersOptions;
  readonly #qkd: QkdStreamTools;
  /** One for each other node, made when it is first needed. */
  readonly #schedulers = new Map<string, RoundScheduler>();

  constructor(options: ProducersOptions) {
    const { qkd, clock, log, qkdSettings } = options;
    this.#o = options;
    this.#qkd = { qkd, clock, log, join: qkdSettings.join };
  }

  initiator(stream: KeyStream): InitiatorProducer {
    const { clock, log, limits, qkdSettings } = this.#o;
    return new InitiatorProducer(stream, {
      clock,
      log,
      rounds: this.#schedulerOf(stream.route.farNode),
      qkd: this.#qkd,
      maxBlockKeys: qkdSettings.block_keys,
      maxBatchChunks: limits.max_batch_chunks,
    });
  }

  responder(stream: KeyStream): ResponderProducer {
    const { clock, log, links } = this.#o;
    const link = links.to(stream.route.farNode);
    return new ResponderProducer(stream, { clock, log, link, qkd: this.#qkd });
  }

  /** The responder's half of a round: an answer for each offer of one other node; never rejects. */
  answer(offers: readonly ReceivedOffer[]): Promise<BatchAnswer[]> {
    const maxBatchChunks = this.#o.limits.max_batch_chunks;
    return new ResponderRound({ tools: this.#o, maxBatchChunks, offers }).answer();
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
