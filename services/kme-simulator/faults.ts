/** What an end can be made to do wrong. */
export const FAULT_KINDS = ['refuse', 'hang', 'wrong-key', 'drop', 'dry'] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

/** The fault of one end, until it has happened as often as asked. */
export class Faults {
  #kind: FaultKind | undefined;
  #left = 0;

  set(kind: FaultKind | undefined, times = Number.POSITIVE_INFINITY): void {
    this.#kind = kind;
    this.#left = times;
  }

  get kind(): FaultKind | undefined {
    return this.#left > 0 ? this.#kind : undefined;
  }

  /** Whether `kind` happens now; counts it. */
  strikes(kind: FaultKind): boolean {
    if (this.kind !== kind) return false;
    this.#left -= 1;
    return true;
  }
}
