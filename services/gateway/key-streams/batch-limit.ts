import { findKemAlgorithm, type KemCost } from '#common/algorithms/kem-algorithms.ts';
import { MAX_BATCH_BYTES } from '#common/grpc/channel-options.ts';
import type { KeyStream } from './key-stream.ts';

/**
 * Chunks of one exchange where a KEM of that cost is among the sources, so
 * that those who wait for the first chunk need not wait for many.
 */
const BATCH_BY_COST: Readonly<Record<KemCost, number>> = {
  light: Number.POSITIVE_INFINITY,
  medium: 8,
  heavy: 1,
};

/** Chunks of one exchange such that every message stays within its budget and nobody waits long; at least one. */
export function batchLimit(stream: KeyStream, maxChunks: number): number {
  const { slots } = stream.terms;
  const largest = Math.max(
    slots.reduce((sum, slot) => sum + slot.publicKeyBytes, 0),
    slots.reduce((sum, slot) => sum + slot.ciphertextBytes, 0),
    stream.qos.keyChunkSize,
    1,
  );
  const byCost = slots.map((slot) => BATCH_BY_COST[costOf(slot.algorithm)]);
  return Math.max(1, Math.min(maxChunks, Math.floor(MAX_BATCH_BYTES / largest), ...byCost));
}

/** How costly a source is; QKD is light. */
export function costOf(algorithm: string): KemCost {
  return findKemAlgorithm(algorithm)?.cost ?? 'light';
}
