import { MAX_BATCH_BYTES } from '#common/grpc/channel-options.ts';
import type { PeerAgreement } from '../agreement-client.ts';
import type { NodeServices } from '../sources/node-services.ts';
import { ConfirmationOutbox } from './confirmation-outbox.ts';
import { InitiatorRound } from './initiator-round.ts';
import type { Batch, InitiatorSupply } from './initiator-supply.ts';
import { MAX_GROUP_ITEMS } from './kem-groups.ts';

/** Rounds of shared streams that may wait for the peer at a time: one is prepared while the other is answered. */
const MAX_ROUNDS = 2;

/** Chunks of a shared round. More would make those who wait for the first wait for the last. */
const MAX_ROUND_CHUNKS = 192;

/** A shared round for which nobody waits starts with so many chunks, or after so long. */
const ENOUGH_CHUNKS = 96;
const LINGER_MS = 40;

/** Share of a round that a stream gets by its QoS priority: one more for each step, up to this. */
const MAX_WEIGHT = 8;

/**
 * Decides which streams' batches go to one peer in which round. Streams of
 * fast KEMs share rounds, so that a thousand slow streams cost what one fast
 * stream does; everything slow or in trouble makes its rounds alone, so that
 * it delays nobody else.
 */
export class ProductionScheduler {
  readonly #services: NodeServices;
  readonly #peer: PeerAgreement;
  readonly #outbox: ConfirmationOutbox;
  readonly #queue = new Set<InitiatorSupply>();
  #rounds = 0;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  constructor(services: NodeServices, peerNode: string) {
    this.#services = services;
    this.#peer = services.peer(peerNode);
    this.#outbox = new ConfirmationOutbox(this.#peer, services.now);
  }

  /** Has `supply` take part in a round soon. */
  enqueue(supply: InitiatorSupply): void {
    if (supply.alone) this.#runAlone(supply);
    else {
      this.#queue.add(supply);
      this.#schedule(supply.urgent);
    }
  }

  #runAlone(supply: InitiatorSupply): void {
    this.#queue.delete(supply);
    const count = supply.hungry;
    if (count === 0) return;
    const round = this.#round([supply.begin(count)]);
    void round.offer().then(() => round.finish());
  }

  #schedule(urgent: boolean): void {
    if (this.#rounds >= MAX_ROUNDS || this.#immediate !== undefined) return;
    if (urgent || this.#hungryChunks() >= ENOUGH_CHUNKS) {
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
    const round = this.#round(batches);
    void round.offer().then(() => {
      this.#rounds -= 1;
      void round.finish();
      if (this.#queue.size > 0) this.#schedule(this.#anyUrgent());
    });
  }

  #round(batches: readonly Batch[]): InitiatorRound {
    return new InitiatorRound({
      services: this.#services,
      peer: this.#peer,
      outbox: this.#outbox,
      batches,
    });
  }

  /**
   * Streams in the order of their asking, those for whom somebody waits first;
   * each gets its weighted share of the round and what nobody else wants.
   */
  #pick(): Batch[] {
    const hungry = [...this.#queue].filter((supply) => supply.hungry > 0);
    this.#queue.clear();
    hungry.sort((a, b) => Number(b.urgent) - Number(a.urgent));
    const counts = new Map<InitiatorSupply, number>();
    const budget = { chunks: MAX_ROUND_CHUNKS, bytes: MAX_BATCH_BYTES, items: MAX_GROUP_ITEMS };
    const total = hungry.reduce((sum, supply) => sum + weightOf(supply), 0);
    const share = MAX_ROUND_CHUNKS / Math.max(1, total);
    for (const limitOf of [
      (supply: InitiatorSupply) => Math.max(1, Math.floor(share * weightOf(supply))),
      () => MAX_ROUND_CHUNKS,
    ]) {
      for (const supply of hungry) {
        const has = counts.get(supply) ?? 0;
        const more = affordable(supply, Math.min(supply.hungry, limitOf(supply)) - has, budget);
        if (more > 0) counts.set(supply, has + more);
      }
    }
    // Who got less than it wants, or nothing, comes first next time.
    for (const supply of hungry) if (!counts.has(supply)) this.#queue.add(supply);
    return [...counts].map(([supply, count]) => supply.begin(count));
  }

  #hungryChunks(): number {
    let sum = 0;
    for (const supply of this.#queue) sum += supply.hungry;
    return sum;
  }

  #anyUrgent(): boolean {
    for (const supply of this.#queue) if (supply.urgent) return true;
    return false;
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
