import type { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Why chunks that the other end had asked for could not be made is told to it within this, or not at all. */
const TELL_WITHIN_MS = 5_000;

/** Who waits for the other end's question to be answered: nobody has asked, it has, or it is to be told why in vain. */
type Asked =
  | { readonly state: 'no' }
  | { readonly state: 'yes' }
  | { readonly state: 'in vain'; readonly why: KeyweaveError; readonly sinceMs: number };

/** What both ends lack of one stream's chunks, and what the other end is still to be told. */
export class Demands {
  /** Chunks that this end lacks, and that the other end has asked for. */
  #here = 0;
  #there = 0;
  /** The other end's application waits for what it has asked for. */
  #waitsThere = false;
  #asked: Asked = { state: 'no' };

  /** Chunks that are wanted now: those for the one end are made for the other, too. */
  get count(): number {
    return Math.max(this.#here, this.#there);
  }

  /** Somebody at the other end waits for chunks that are still to be made. */
  get waitsThere(): boolean {
    return this.#there > 0 && this.#waitsThere;
  }

  /** This end lacks so many. */
  want(count: number): void {
    this.#here = count;
  }

  /** What has failed is wanted again. */
  wantAgain(count: number): void {
    this.#here = Math.max(this.#here, count);
  }

  /**
   * The other end asks for `count` chunks, of which `coming` are on their way.
   *
   * @throws KeyweaveError why those that it asked for before could not be made, once.
   */
  ask(count: number, { waits, coming, nowMs }: { waits: boolean; coming: number; nowMs: number }): void {
    const asked = this.#asked;
    if (asked.state === 'in vain' && nowMs - asked.sinceMs <= TELL_WITHIN_MS) {
      this.#asked = { state: 'no' };
      throw asked.why;
    }
    this.#asked = { state: 'yes' };
    this.#waitsThere = waits;
    this.#there = Math.max(this.#there, count - coming, coming > 0 ? 0 : 1);
  }

  /** A batch of `count` chunks is on its way. */
  begun(count: number): void {
    this.#here = Math.max(0, this.#here - count);
    this.#there = Math.max(0, this.#there - count);
  }

  /** Chunks have come at both ends: nobody asks in vain any more. */
  met(): void {
    this.#asked = { state: 'no' };
  }

  /** The other end has no room: it gets nothing, and is told why. */
  noRoomThere(why: KeyweaveError, nowMs: number): void {
    this.#there = 0;
    this.#tell(why, nowMs);
  }

  /** Nothing more is tried: the other end is told why in the answer to its next question. */
  giveUp(why: KeyweaveError, nowMs: number): void {
    this.#here = 0;
    this.#there = 0;
    this.#tell(why, nowMs);
  }

  #tell(why: KeyweaveError, nowMs: number): void {
    if (this.#asked.state === 'yes') this.#asked = { state: 'in vain', why, sinceMs: nowMs };
  }
}
