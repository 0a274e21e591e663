import { findKemAlgorithm } from '#common/catalogue/kems.ts';

/** Limits of the single steps of an exchange, milliseconds. */
export const STEP_TIMEOUT_MS = {
  /** Of fast KEMs, whose rounds all streams of a peer share: none may be held up for long. */
  generate: 20_000,
  /** Key generation of the slowest KEM on a busy machine without the native engine. */
  generateSlow: 120_000,
  /** The responder's whole half: encapsulation, its key manager, derivation. */
  produce: 30_000,
  encapsulate: 20_000,
  decapsulate: 20_000,
  derive: 5_000,
  confirm: 3_000,
  demand: 3_000,
  rendezvous: 3_000,
  close: 3_000,
  algorithms: 3_000,
} as const;

/** How long key generation of a KEM may take, milliseconds. */
export function generateTimeoutMs(algorithm: string): number {
  const isFast = findKemAlgorithm(algorithm)?.cost === 'light';
  return isFast ? STEP_TIMEOUT_MS.generate : STEP_TIMEOUT_MS.generateSlow;
}
