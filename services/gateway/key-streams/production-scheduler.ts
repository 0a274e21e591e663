import { MAX_BATCH_BYTES } from '#common/grpc/channel-options.ts';
import type { NodeServices } from '../sources/node-services.ts';
import { ConfirmationOutbox } from './confirmation-outbox.ts';
import { InitiatorRound } from './initiator-round.ts';
import type { Batch, InitiatorSupply } from './initiator-supply.ts';
import { MAX_GROUP_ITEMS } from './kem-groups.ts';

/** Rounds of shared streams that may wait for the peer at a time: one is prepared while the other is answered. */
const MAX_ROUNDS = 2;

/** Chunks of a shared round. More would make those who wait for the first wait for the last. */
const MAX_ROUND_CHUNKS = 256;

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
export class ProductionScheduler {
  readonly #startRound: (batches: readonly Batch[]) => Round;
  /** Streams that ask, in the order of their asking, with what each asked for. */
  readonly #queue = new Map<InitiatorSupply, number>();
  #queuedChunks = 0;
  #rounds = 0;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  /** @param startRound makes the round of some batches. */
  constructor(startRound: (batches: readonly Batch[]) => Round) {
    this.#startRound = startRound;
  }

  /** Has `supply` take part in a round soon. */
  enqueue(supply: InitiatorSupply): void {
    if (supply.alone) this.#runAlone(supply);
    else {
      const { hungry } = supply;
      this.#queuedChunks += hungry - (this.#queue.get(supply) ?? 0);
      this.#queue.set(supply, hungry);
      this.#schedule(supply.urgent);
    }
  }

  #runAlone(supply: InitiatorSupply): void {
    const count = supply.hungry;
    if (count === 0) return;
    const round = this.#startRound([supply.begin(count)]);
    void round.offer().then(() => round.finish());
  }

  #schedule(urgent: boolean): void {
    if (this.#rounds >= MAX_ROUNDS || this.#immediate !== undefined) return;
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
    void round.offer().then(() => {
      this.#rounds -= 1;
      void round.finish();
      if (this.#queue.size > 0) this.#schedule(this.#anyUrgent());
    });
  }

  /**
   * Streams for whom somebody waits come first, each with its weighted share
   * of the round; what is left goes to whoever asked first, as much as it
   * wants, since few large batches cost less than many small ones.
   */
  #pick(): Batch[] {
    const asking = [...this.#queue.keys()].filter((supply) => supply.hungry > 0);
    this.#queue.clear();
    this.#queuedChunks = 0;
    const urgent = asking.filter((supply) => supply.urgent);
    const weights = urgent.reduce((sum, supply) => sum + weightOf(supply), 0);
    const budget = { chunks: MAX_ROUND_CHUNKS, bytes: MAX_BATCH_BYTES, items: MAX_GROUP_ITEMS };
    const counts = new Map<InitiatorSupply, number>();
    for (const supply of urgent) {
      const share = Math.max(1, Math.floor((MAX_ROUND_CHUNKS * weightOf(supply)) / weights));
      counts.set(supply, affordable(supply, Math.min(supply.hungry, share), budget));
    }
    for (const supply of [...urgent, ...asking]) {
      const has = counts.get(supply) ?? 0;
      counts.set(supply, has + affordable(supply, supply.hungry - has, budget));
    }
    const batches: Batch[] = [];
    for (const [supply, count] of counts) {
      if (count > 0) batches.push(supply.begin(count));
      else this.enqueue(supply);
    }
    return batches;
  }

  #anyUrgent(): boolean {
    for (const supply of this.#queue.keys()) if (supply.urgent) return true;
    return false;
  }
}

/** One scheduler for each peer node, made when it is first needed. */
export class ProductionSchedulers {
  readonly #services: NodeServices;
  readonly #byPeer = new Map<string, ProductionScheduler>();

  constructor(services: NodeServices) {
    this.#services = services;
  }

  of(peerNode: string): ProductionScheduler {
    let scheduler = this.#byPeer.get(peerNode);
    if (!scheduler) {
      const services = this.#services;
      const peer = services.peer(peerNode);
      const outbox = new ConfirmationOutbox(peer, services.now);
      scheduler = new ProductionScheduler(
        (batches) => new InitiatorRound({ services, peer, outbox, batches }),
      );
      this.#byPeer.set(peerNode, scheduler);
    }
    return scheduler;
  }
}

/** How many of `count` more chunks of a stream the round's budget takes; what it takes is spent. */
function affordable(
  supply: InitiatorSupply,
  count: number,
  budget: { chunks: number; bytes: number; items: number },
): number {
  const { slots } = supply.stream.terms;
  const bytes = slots.reduce((sum, slot) => sum + Math.max(slot.publicKeyBytes, slot.ciphertextBytes), 1);
  const taken = Math.max(
    0,
    Math.min(count, budget.chunks, Math.floor(budget.bytes / bytes), Math.floor(budget.items / slots.length)),
  );
  budget.chunks -= taken;
  budget.bytes -= taken * bytes;
  budget.items -= taken * slots.length;
  return taken;
}

function weightOf(supply: InitiatorSupply): number {
  return Math.min(MAX_WEIGHT, 1 + supply.stream.qos.priority);
}
