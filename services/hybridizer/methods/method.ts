/**
 * Joins the secrets of one chunk.
 *
 * Contract: `derive` fills all of `out` and changes neither `secrets` nor
 * `context`; whatever it creates in between it wipes. `secrets` are in the
 * agreed order; `context` is the canonical context of the chunk. `out` is never
 * longer than the method's row in the table allows.
 */
export interface HybridizationMethod {
  readonly name: string;
  derive(secrets: readonly Buffer[], context: Buffer, out: Buffer): void;
}

/** The secrets in bytewise ascending order, as the reference sorts them. */
export function ascending(secrets: readonly Buffer[]): Buffer[] {
  return [...secrets].sort(Buffer.compare);
}
