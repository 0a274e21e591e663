import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { NodeServices } from '../../clients/node-services.ts';
import { RoundBudget } from '../batch-limit.ts';
import { Confirmations } from './confirmations.ts';
import type { Batch, InitiatorProducer } from './initiator-producer.ts';
import { InitiatorRound } from './initiator-round.ts';
import { PeerReach } from './peer-reach.ts';

/** Rounds of shared streams that may wait for the peer at a time: one is prepared while the other is answered. */
const MAX_ROUNDS = 2;

/** Chunks of a shared round, and so its batches. More would make those who wait for the first wait for the last. */
const MAX_ROUND_CHUNKS = MESSAGE_LIMITS.offers.filled;

/**
 * Rounds that streams make alone, at a time: of troubled or new ones, and of
 * those with slow KEMs, which last longer and must not take the others' places.
 */
const MAX_ALONE = { light: 128, slow: 32 } as const;

/** Batches of a round that finds out whether the peer can be reached again. */
const PROBE_BATCHES = 4;

/** A shared round for which nobody waits starts with so many chunks, or after so long. */
const ENOUGH_CHUNKS = 128;
const LINGER_MS = 100;

/** Share of a round that a stream gets by its QoS priority: one more for each step, up to this. */
const MAX_WEIGHT = 8;

/** What the scheduler needs of a round; neither half rejects. */
export type Round = Pick<InitiatorRound, 'offer' | 'finish'>;

/**
 * Decides which streams' batches go to one peer in which round. Streams of
 * fast KEMs share rounds, so that a thousand slow streams cost what one fast
 * stream does; everything slow or in trouble makes its rounds alone, so that
 * it delays nobody else.
 */
export class RoundScheduler {
  readonly #startRound: (batches: readonly Batch[]) => Round;
  /** Streams that ask, in the order of their asking, with what each asked for. */
  readonly #queue = new Map<InitiatorProducer, number>();
  #queuedChunks = 0;
  #rounds = 0;
  readonly #alone = { light: new Alone(), slow: new Alone() };
  readonly #reach: PeerReach;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  /**
   * @param startRound makes the round of some batches.
   * @param now milliseconds of a steady clock.
   */
  constructor(startRound: (batches: readonly Batch[]) => Round, now: () => number) {
    this.#startRound = startRound;
    this.#reach = new PeerReach(now);
  }

  /** Has `supply` take part in a round soon. */
  enqueue(supply: InitiatorProducer): void {
    const { refusal } = this.#reach;
    if (refusal) supply.refuse(refusal);
    else if (supply.alone) {
      const kind = supply.isLight ? 'light' : 'slow';
      this.#alone[kind].add(supply);
      this.#runAlone(kind);
    } else {
      const { offerable } = supply;
      this.#queuedChunks += offerable - (this.#queue.get(supply) ?? 0);
      this.#queue.set(supply, offerable);
      this.#schedule(supply.urgent);
    }
  }

  #runAlone(kind: keyof typeof MAX_ALONE): void {
    const alone = this.#alone[kind];
    while (alone.rounds < (this.#reach.isDoubtful ? 1 : MAX_ALONE[kind])) {
      const supply = alone.next();
      if (!supply) return;
      const count = supply.offerable;
      if (count === 0) continue;
      alone.rounds += 1;
      const round = this.#startRound([supply.begin(count)]);
      void round.offer().then((failure) => {
        alone.rounds -= 1;
        this.#offered(round, failure);
      });
    }
  }

  /** What a round has shown of the peer decides what becomes of those who wait for theirs. */
  #offered(round: Round, failure: KeyweaveError | undefined): void {
    void round.finish();
    this.#reach.note(failure);
    const { refusal } = this.#reach;
    if (refusal) {
      const waiting = [...this.#queue.keys(), ...this.#alone.light.all(), ...this.#alone.slow.all()];
      this.#queue.clear();
      this.#queuedChunks = 0;
      for (const supply of waiting) supply.refuse(refusal);
      return;
    }
    this.#runAlone('light');
    this.#runAlone('slow');
    if (this.#queue.size > 0) this.#schedule(this.#anyUrgent());
  }

  #schedule(urgent: boolean): void {
    if (this.#rounds >= (this.#reach.isDoubtful ? 1 : MAX_ROUNDS) || this.#immediate !== undefined) return;
    if (urgent || this.#queuedChunks >= ENOUGH_CHUNKS) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      // Whoever else asks in this turn of the event loop comes along.
      this.#immediate = setImmediate(() => {
        this.#immediate = undefined;
        this.#run();
      });
    } else if (this.#timer === undefined) {
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.#run();
      }, LINGER_MS);
    }
  }

  #run(): void {
    const batches = this.#pick();
    if (batches.length === 0) return;
    this.#rounds += 1;
    const round = this.#startRound(batches);
    void round.offer().then((failure) => {
      this.#rounds -= 1;
      this.#offered(round, failure);
    });
  }

  /**
   * Streams for whom somebody waits come first, each with its weighted share
   * of the round; what is left goes to whoever asked first, as much as it
   * wants, since few large batches cost less than many small ones.
   */
  #pick(): Batch[] {
    const asking = [...this.#queue.keys()].filter((supply) => supply.offerable > 0);
    this.#queue.clear();
    this.#queuedChunks = 0;
    const urgent = asking.filter((supply) => supply.urgent);
    const weights = urgent.reduce((sum, supply) => sum + weightOf(supply), 0);
    const budget = new RoundBudget({
      chunks: MAX_ROUND_CHUNKS,
      bytes: MESSAGE_LIMITS.bytes.filled,
      cost: MESSAGE_LIMITS.cost.filled,
    });
    const counts = new Map<InitiatorProducer, number>();
    const give = (supply: InitiatorProducer, most: number) => {
      const { stream, unit } = supply;
      const has = counts.get(supply) ?? 0;
      const whole = (count: number) => Math.floor(count / unit) * unit;
      // A batch is at least of one unit, even where less is wanted; of a part of one nothing is offered.
      const wanted = Math.max(unit, whole(has + Math.min(supply.offerable - has, most)));
      const more = whole(has + budget.affordable(stream, wanted - has)) - has;
      budget.spend(stream, more);
      counts.set(supply, has + more);
    };
    for (const supply of urgent) {
      give(supply, Math.max(1, Math.floor((MAX_ROUND_CHUNKS * weightOf(supply)) / weights)));
    }
    for (const supply of [...urgent, ...asking]) give(supply, supply.offerable);
    const batches: Batch[] = [];
    const most = this.#reach.isDoubtful ? PROBE_BATCHES : MAX_ROUND_CHUNKS;
    for (const [supply, count] of counts) {
      if (count > 0 && batches.length < most) batches.push(supply.begin(count));
      else this.enqueue(supply);
    }
    return batches;
  }

  #anyUrgent(): boolean {
    for (const supply of this.#queue.keys()) if (supply.urgent) return true;
    return false;
  }
}

/** Streams that wait to make a round alone, and how many do. */
class Alone {
  rounds = 0;
  readonly #urgent = new Set<InitiatorProducer>();
  readonly #others = new Set<InitiatorProducer>();

  add(supply: InitiatorProducer): void {
    if (supply.urgent) {
      this.#others.delete(supply);
      this.#urgent.add(supply);
    } else if (!this.#urgent.has(supply)) this.#others.add(supply);
  }

  /** Whoever somebody waits for comes first, else whoever asked first. */
  next(): InitiatorProducer | undefined {
    for (const waiting of [this.#urgent, this.#others]) {
      for (const supply of waiting) {
        waiting.delete(supply);
        return supply;
      }
    }
    return undefined;
  }

  /** Takes everybody who waits. */
  all(): InitiatorProducer[] {
    const all = [...this.#urgent, ...this.#others];
    this.#urgent.clear();
    this.#others.clear();
    return all;
  }
}

/** One scheduler for each peer node, made when it is first needed. */
export class RoundSchedulers {
  readonly #services: NodeServices;
  readonly #byPeer = new Map<string, RoundScheduler>();

  constructor(services: NodeServices) {
    this.#services = services;
  }

  of(peerNode: string): RoundScheduler {
    let scheduler = this.#byPeer.get(peerNode);
    if (!scheduler) {
      const services = this.#services;
      const peer = services.peer(peerNode);
      const outbox = new Confirmations(peer, services.now);
      scheduler = new RoundScheduler(
        (batches) => new InitiatorRound({ services, peer, outbox, batches }),
        services.now,
      );
      this.#byPeer.set(peerNode, scheduler);
    }
    return scheduler;
  }
}

function weightOf(supply: InitiatorProducer): number {
  return Math.min(MAX_WEIGHT, 1 + supply.stream.qos.priority);
}
