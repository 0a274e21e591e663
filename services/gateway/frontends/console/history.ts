import type { Moment } from './answers.ts';

/** How long a moment is kept. */
export const KEPT_MS = 300_000;
/** One a second. */
const MOST_MOMENTS = 300;

/** The last minutes, so that a page that is opened has a chart at once. */
export class History {
  #moments: Moment[] = [];
  #last = 0;

  /** @param at milliseconds since 1970. */
  add(at: number, peers: Moment['peers']): void {
    this.#last += 1;
    this.#moments.push({ n: this.#last, at, peers });
    const from = at - KEPT_MS;
    if (this.#moments.length > MOST_MOMENTS || (this.#moments[0]?.at ?? from) < from)
      this.#moments = this.#moments.slice(-MOST_MOMENTS).filter((moment) => moment.at >= from);
  }

  /** Those after the one with this number; all where there has been no such one yet. */
  since(n: number): readonly Moment[] {
    return n > this.#last ? this.#moments : this.#moments.filter((moment) => moment.n > n);
  }
}
