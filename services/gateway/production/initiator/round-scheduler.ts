import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import type { Batch } from '../batch.ts';
import { RoundBudget } from '../batch-limit.ts';
import type { InitiatorProducer } from './initiator-producer.ts';
import type { InitiatorRound } from './initiator-round.ts';
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

/** A shared round for which nobody waits starts with so many chunks, or after so long, or once a stream may wait no longer. */
const ENOUGH_CHUNKS = 64;
const LINGER_MS = 100;

/** What the scheduler needs of a round; neither half rejects. */
export type Round = Pick<InitiatorRound, 'offer' | 'finish'>;

/**
 * Decides which streams' batches go to one peer in which round. Streams of
 * fast KEMs share rounds, so that a thousand slow streams cost what one fast
 * stream does; everything slow or in trouble makes its rounds alone, so that
 * it delays nobody else.
 */
export class RoundScheduler {
  readonly #startRound: (batches: readonly Batch<InitiatorProducer>[]) => Round;
  /** Streams that ask, in the order of their asking, with what each asked for. */
  readonly #queue = new Map<InitiatorProducer, number>();
  #queuedChunks = 0;
  #rounds = 0;
  readonly #alone = { light: new Alone(), slow: new Alone() };
  readonly #reach: PeerReach;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  /** When the timer fires. */
  #dueMs = 0;
  #soon: Timer | undefined;

  /**
   * @param startRound makes the round of some batches.
   */
  constructor(startRound: (batches: readonly Batch<InitiatorProducer>[]) => Round, clock: Clock) {
    this.#startRound = startRound;
    this.#clock = clock;
    this.#reach = new PeerReach(clock);
  }

  /** Has `producer` take part in a round soon. */
  enqueue(producer: InitiatorProducer): void {
    const { refusal } = this.#reach;
    if (refusal) producer.refuse(refusal);
    else if (producer.alone) {
      const kind = producer.isLight ? 'light' : 'slow';
      this.#alone[kind].add(producer);
      this.#runAlone(kind);
    } else {
      const { offerable } = producer;
      this.#queuedChunks += offerable - (this.#queue.get(producer) ?? 0);
      this.#queue.set(producer, offerable);
      this.#schedule(producer.patienceMs);
    }
  }

  #runAlone(kind: keyof typeof MAX_ALONE): void {
    const alone = this.#alone[kind];
    while (alone.rounds < (this.#reach.isDoubtful ? 1 : MAX_ALONE[kind])) {
      const producer = alone.next();
      if (!producer) return;
      const count = producer.offerable;
      if (count === 0) {
        producer.passed();
        continue;
      }
      alone.rounds += 1;
      const round = this.#startRound([producer.begin(count)]);
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
      for (const producer of waiting) producer.refuse(refusal);
      return;
    }
    this.#runAlone('light');
    this.#runAlone('slow');
    if (this.#queue.size > 0) this.#schedule(this.#leastPatienceMs());
  }

  #schedule(patienceMs: number): void {
    if (this.#rounds >= (this.#reach.isDoubtful ? 1 : MAX_ROUNDS) || this.#soon !== undefined) return;
    if (patienceMs === 0 || this.#queuedChunks >= ENOUGH_CHUNKS) {
      this.#timer?.cancel();
      this.#timer = undefined;
      // Whoever else asks in this turn of the event loop comes along.
      this.#soon = this.#clock.soon(() => {
        this.#soon = undefined;
        this.#run();
      });
      return;
    }
    const lingerMs = Math.min(LINGER_MS, patienceMs);
    const dueMs = this.#clock.monotonicMs() + lingerMs;
    if (this.#timer !== undefined && this.#dueMs <= dueMs) return;
    this.#timer?.cancel();
    this.#dueMs = dueMs;
    this.#timer = this.#clock.after(lingerMs, () => {
      this.#timer = undefined;
      this.#run();
    });
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
  #pick(): Batch<InitiatorProducer>[] {
    const queued = [...this.#queue.keys()];
    this.#queue.clear();
    this.#queuedChunks = 0;
    const asking = queued.filter((producer) => producer.offerable > 0);
    for (const producer of queued) if (producer.offerable === 0) producer.passed();
    const urgent = asking.filter((producer) => producer.urgent);
    const weights = urgent.reduce((sum, producer) => sum + producer.weight, 0);
    const budget = new RoundBudget({
      chunks: MAX_ROUND_CHUNKS,
      bytes: MESSAGE_LIMITS.bytes.filled,
      cost: MESSAGE_LIMITS.cost.filled,
    });
    const counts = new Map<InitiatorProducer, number>();
    const give = (producer: InitiatorProducer, most: number) => {
      const { stream } = producer;
      const has = counts.get(producer) ?? 0;
      const more = budget.affordable(stream, Math.min(producer.offerable - has, most));
      budget.spend(stream, more);
      counts.set(producer, has + more);
    };
    for (const producer of urgent) {
      give(producer, Math.max(1, Math.floor((MAX_ROUND_CHUNKS * producer.weight) / weights)));
    }
    for (const producer of [...urgent, ...asking]) give(producer, producer.offerable);
    const batches: Batch<InitiatorProducer>[] = [];
    const most = this.#reach.isDoubtful ? PROBE_BATCHES : MAX_ROUND_CHUNKS;
    for (const [producer, count] of counts) {
      if (count > 0 && batches.length < most) batches.push(producer.begin(count));
      else this.enqueue(producer);
    }
    return batches;
  }

  #leastPatienceMs(): number {
    let least = LINGER_MS;
    for (const { patienceMs } of this.#queue.keys()) least = Math.min(least, patienceMs);
    return least;
  }
}

/** Streams that wait to make a round alone, and how many do. */
class Alone {
  rounds = 0;
  readonly #urgent = new Set<InitiatorProducer>();
  readonly #others = new Set<InitiatorProducer>();

  add(producer: InitiatorProducer): void {
    if (producer.urgent) {
      this.#others.delete(producer);
      this.#urgent.add(producer);
    } else if (!this.#urgent.has(producer)) this.#others.add(producer);
  }

  /** Whoever somebody waits for comes first, else whoever asked first. */
  next(): InitiatorProducer | undefined {
    for (const waiting of [this.#urgent, this.#others]) {
      for (const producer of waiting) {
        waiting.delete(producer);
        return producer;
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
