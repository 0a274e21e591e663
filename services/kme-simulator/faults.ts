/** Ways of simple key managers. An end may have one for good, beside whatever goes wrong with it. */
export const HABITS = ['read-once', 'byte-by-byte', 'close-after-answer'] as const;

/**
 * - `read-once`: takes what one read brings for one request, and never sees what came behind it.
 * - `byte-by-byte`: writes the beginning of each answer in segments of one byte.
 * - `close-after-answer`: closes the connection after each answer.
 */
export type Habit = (typeof HABITS)[number];

/**
 * What an end can be made to do wrong. `wrong-key` gives a key that the other
 * end does not get, `repeat` the one given last once more, in whichever stream, `zero` zeros.
 */
export const FAULT_KINDS = [
  'refuse',
  'hang',
  'wrong-key',
  'repeat',
  'zero',
  'drop',
  'dry',
  ...HABITS,
] as const;

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
