/** Attempts that reach the key manager, until what is known has held for a while. */
const MAX_ATTEMPTS = 6;

/** What has held for so long was right: when it holds no longer, the attempts are counted anew. */
const HELD_MS = 3_600_000;

const FIRST_PAUSE_MS = 1_000;

/** Pause after an attempt that did not reach the key manager, and so cost it nothing. */
const UNREACHED_PAUSE_MS = 2_000;

/** What became of an attempt: it is known now, it is not, or the key manager could not be reached. */
export type Outcome = 'known' | 'unknown' | 'unreached';

/** When something may be tried: one attempt at a time, with growing pauses, a few times. */
export class Attempts {
  readonly #now: () => number;
  #made = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #underWay = false;
  #known = false;
  #knownSinceMs = Number.POSITIVE_INFINITY;

  /** @param now monotonic milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether `run` would try now. */
  get due(): boolean {
    return !this.#known && !this.#underWay && this.#made < MAX_ATTEMPTS && this.#now() >= this.#notBeforeMs;
  }

  /** Whether nothing is known and nothing will be tried any more. */
  get spent(): boolean {
    return !this.#known && this.#made >= MAX_ATTEMPTS;
  }

  /** Tries, when it is due; a `probe` that throws has found nothing out. Never rejects. */
  async run(probe: () => Promise<Outcome>): Promise<void> {
    if (!this.due) return;
    this.#underWay = true;
    const outcome = await probe().catch((): Outcome => 'unknown');
    this.#underWay = false;
    if (outcome === 'unreached') {
      this.#notBeforeMs = this.#now() + UNREACHED_PAUSE_MS;
      return;
    }
    this.#known = outcome === 'known';
    this.#knownSinceMs = this.#now();
    this.#pause();
  }

  /** What was known holds no longer: it is tried again, later, if any attempt is left. */
  again(): void {
    if (this.#known && this.#now() - this.#knownSinceMs >= HELD_MS) this.#made = 0;
    this.#known = false;
    this.#pause();
  }

  #pause(): void {
    this.#notBeforeMs = this.#now() + FIRST_PAUSE_MS * 2 ** this.#made;
    this.#made += 1;
  }
}
