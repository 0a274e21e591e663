import { findKemAlgorithm, type KemCost } from '#common/catalogue/kems.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { SourceSlot } from '#gen/keyweave/v1/common.ts';
import type { KeyStream } from '../streams/key-stream.ts';

/**
 * Chunks of one exchange where a KEM of that cost is among the sources, so
 * that those who wait for the first chunk need not wait for many.
 */
const BATCH_BY_COST: Readonly<Record<KemCost, number>> = {
  light: Number.POSITIVE_INFINITY,
  medium: 8,
  heavy: 1,
};

/** What one slot of one chunk costs the responder, in ML-KEM operations; a QKD key counts as one. */
const COST_OF_SLOT: Readonly<Record<KemCost, number>> = { light: 1, medium: 10, heavy: 80 };

/** What of a stream decides how much its chunks ask of both ends. */
export type Weighed = Pick<KeyStream, 'terms' | 'qos'>;

/** Chunks of one exchange such that every message stays within its budget and nobody waits long; at least one. */
export function batchLimit(stream: Weighed, maxChunks: number): number {
  const { bytes, cost } = weigh(stream);
  const byCost = stream.terms.slots.map((slot) => BATCH_BY_COST[costOf(slot.algorithm)]);
  return Math.max(
    1,
    Math.min(
      maxChunks,
      Math.floor(MESSAGE_LIMITS.bytes.filled / bytes),
      Math.floor(MESSAGE_LIMITS.cost.filled / cost),
      ...byCost,
    ),
  );
}

/** How costly a source is; QKD is light. */
export function costOf(algorithm: string): KemCost {
  return findKemAlgorithm(algorithm)?.cost ?? 'light';
}

/** Public keys, or ciphertexts, of one chunk, bytes: whichever are more. */
export function chunkBytesOf(slots: readonly SourceSlot[]): number {
  return Math.max(
    slots.reduce((sum, slot) => sum + slot.publicKeyBytes, 0),
    slots.reduce((sum, slot) => sum + slot.ciphertextBytes, 0),
  );
}

/** What one chunk of a stream asks of the message and of the responder. */
function weigh({ terms, qos }: Weighed): { bytes: number; cost: number } {
  return {
    bytes: Math.max(chunkBytesOf(terms.slots), qos.keyChunkSize, 1),
    cost: terms.slots.reduce((sum, slot) => sum + COST_OF_SLOT[costOf(slot.algorithm)], 0),
  };
}

/**
 * What one message may still ask for. Both ends count alike: the initiator as
 * it fills a round, the responder as it reads one, with more room.
 */
export class RoundBudget {
  #chunks: number;
  #bytes: number;
  #cost: number;
  #isUntouched = true;

  constructor(limits: { chunks: number; bytes: number; cost: number }) {
    this.#chunks = limits.chunks;
    this.#bytes = limits.bytes;
    this.#cost = limits.cost;
  }

  /** How many of `count` chunks of the stream there is room for; one always where nothing has been taken yet. */
  affordable(stream: Weighed, count: number): number {
    const { bytes, cost } = weigh(stream);
    const room = Math.min(this.#chunks, Math.floor(this.#bytes / bytes), Math.floor(this.#cost / cost));
    return Math.max(0, Math.min(count, this.#isUntouched ? Math.max(1, room) : room));
  }

  /** Takes what `affordable` has allowed. */
  spend(stream: Weighed, count: number): void {
    if (count === 0) return;
    const { bytes, cost } = weigh(stream);
    this.#chunks -= count;
    this.#bytes -= count * bytes;
    this.#cost -= count * cost;
    this.#isUntouched = false;
  }
}
