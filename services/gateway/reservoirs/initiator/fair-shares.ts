import { Pace } from '../link-rates.ts';

/** Who gets keys out of a reservoir. */
export interface Taker {
  /** QKD keys of one chunk. */
  readonly qkdSlots: number;
  /** QKD keys that it could use now; a multiple of those of one chunk. */
  readonly qkdWanted: number;
  /** Somebody waits for them. */
  readonly urgent: boolean;
  /** From 1, by the priority of its QoS. */
  readonly weight: number;
}

interface Share<T extends Taker> {
  readonly taker: T;
  readonly pace: Pace;
  /** Virtual time at which its last keys were used up. */
  finish: number;
  lastMs: number;
}

/** Where one that waits stands among the others. */
interface Rank {
  readonly urgent: boolean;
  readonly modest: boolean;
  readonly start: number;
}

/** Who has asked for nothing for so long takes no part in the shares. */
const ACTIVE_MS = 10_000;

/**
 * Shares scarce keys out: first to those that have lately taken less than an
 * even part of the supply, so that who asks for little is never starved; what
 * is left by weight, chunk by chunk (start-time fair queueing). Whoever
 * somebody waits for comes before those that would weave ahead.
 */
export class FairShares<T extends Taker> {
  readonly #shares = new Map<T, Share<T>>();
  #virtual = 0;

  /** Notes that `taker` asks. */
  ask(taker: T, nowMs: number): void {
    const share = this.#shares.get(taker);
    if (share) share.lastMs = nowMs;
    else this.#shares.set(taker, { taker, pace: new Pace(), finish: 0, lastMs: nowMs });
  }

  forget(taker: T): void {
    this.#shares.delete(taker);
  }

  /** Those that have asked lately. */
  active(nowMs: number): number {
    let active = 0;
    for (const { lastMs } of this.#shares.values()) if (nowMs - lastMs <= ACTIVE_MS) active += 1;
    return active;
  }

  /**
   * Shares `keys` among those that wait: for each its part, in whole chunks.
   *
   * @param supply keys a second; undefined where there are enough.
   */
  allot(
    waiting: Iterable<T>,
    keys: number,
    { supply, nowMs }: { supply: number | undefined; nowMs: number },
  ): Map<T, number> {
    const asking = [...waiting].map((taker) => ({ taker, left: taker.qkdWanted }));
    const allotted = new Map<T, number>();
    const give = (entry: { taker: T; left: number }, count: number) => {
      const { taker } = entry;
      entry.left -= count;
      allotted.set(taker, (allotted.get(taker) ?? 0) + count);
      this.#used(taker, count, nowMs);
    };
    if (asking.reduce((sum, { left }) => sum + left, 0) <= keys) {
      for (const entry of asking) if (entry.left > 0) give(entry, entry.left);
      return allotted;
    }
    const even = supply === undefined ? 0 : supply / Math.max(1, this.active(nowMs));
    const entries = asking.map((entry) => ({ ...entry, ...this.#rank(entry.taker, even, nowMs) }));
    for (let left = keys; ; ) {
      let first: (typeof entries)[number] | undefined;
      for (const entry of entries) {
        if (entry.left > 0 && (first === undefined || isBefore(entry, first))) first = entry;
      }
      // Whose chunks take several keys waits until there are as many, and nobody takes them away meanwhile.
      if (!first || first.taker.qkdSlots > left) return allotted;
      give(first, first.taker.qkdSlots);
      left -= first.taker.qkdSlots;
      Object.assign(first, this.#rank(first.taker, even, nowMs));
    }
  }

  /** `taker` could not be given what it was allotted. */
  refund(taker: T, count: number, nowMs: number): void {
    const share = this.#shares.get(taker);
    if (!share) return;
    share.finish -= count / taker.weight;
    share.pace.note(-count, nowMs);
  }

  #rank(taker: T, even: number, nowMs: number): Rank {
    const pace = this.#shares.get(taker)?.pace.perSecond(nowMs) ?? 0;
    return { urgent: taker.urgent, modest: pace < even, start: this.#start(taker) };
  }

  #start(taker: T): number {
    return Math.max(this.#virtual, this.#shares.get(taker)?.finish ?? 0);
  }

  #used(taker: T, count: number, nowMs: number): void {
    const share = this.#shares.get(taker);
    if (!share) return;
    const start = this.#start(taker);
    this.#virtual = start;
    share.finish = start + count / taker.weight;
    share.pace.note(count, nowMs);
  }
}

function isBefore(a: Rank, b: Rank): boolean {
  if (a.urgent !== b.urgent) return a.urgent;
  if (a.modest !== b.modest) return a.modest;
  return a.start < b.start;
}
