import { QKD_SECRET_BYTES } from '#common/catalogue/qkd-keys.ts';
import { ownMemory } from '#common/crypto/bytes.ts';

/** Keys of consecutive numbers, end to end. */
interface Run {
  first: number;
  keys: Buffer;
  readonly sinceMs: number;
}

/**
 * QKD keys by number, 32 bytes each: whatever of an epoch has been read and
 * neither used nor burned. Owns them; what it gives away is a copy of its own,
 * and the original is wiped.
 */
export class KeyRuns {
  /** In the order of their numbers. */
  readonly #runs: Run[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Number of the first key; undefined where there is none. */
  get first(): number | undefined {
    return this.#runs[0]?.first;
  }

  /** When the key that has lain longest came, monotonic milliseconds; undefined where there is none. */
  get oldestMs(): number | undefined {
    return this.#runs.length === 0 ? undefined : Math.min(...this.#runs.map(({ sinceMs }) => sinceMs));
  }

  /** Adds the keys from number `first` on, none of which may be there. Takes ownership. */
  add(first: number, keys: Buffer, sinceMs: number): void {
    if (keys.length === 0) return;
    const behind = this.#runs.findIndex((run) => run.first > first);
    this.#runs.splice(behind < 0 ? this.#runs.length : behind, 0, { first, keys, sinceMs });
    this.#count += keys.length / QKD_SECRET_BYTES;
  }

  /** The first `least` keys or more, and at most `most`, whose numbers follow each other; undefined where there are none. */
  stretch(least: number, most: number): { first: number; count: number } | undefined {
    let first = 0;
    let count = 0;
    for (const run of this.#runs) {
      if (run.first !== first + count) {
        if (count >= least) break;
        first = run.first;
        count = 0;
      }
      count += run.keys.length / QKD_SECRET_BYTES;
      if (count >= most) break;
    }
    return count < least || count === 0 ? undefined : { first, count: Math.min(count, most) };
  }

  /** Keys from number `first` on that follow each other, up to `most`. */
  from(first: number, most: number): number {
    let next = first;
    for (const run of this.#runs) {
      const behind = run.first + run.keys.length / QKD_SECRET_BYTES;
      if (behind <= next) continue;
      if (run.first > next || next - first >= most) break;
      next = behind;
    }
    return Math.min(most, next - first);
  }

  /** The keys before number `end` that follow each other up to it. */
  before(end: number): number {
    let first = end;
    for (const run of this.#runs.toReversed()) {
      if (run.first + run.keys.length / QKD_SECRET_BYTES !== first) break;
      first = run.first;
    }
    return end - first;
  }

  /** Takes `count` keys from number `first` on, all of which must be there; the caller owns and wipes them. */
  take(first: number, count: number): Buffer {
    if (this.from(first, count) < count)
      throw new RangeError(`keys ${first} to ${first + count - 1} are not here`);
    const taken = ownMemory(count * QKD_SECRET_BYTES);
    this.#remove(first, first + count, (keys, number) => {
      keys.copy(taken, (number - first) * QKD_SECRET_BYTES);
    });
    return taken;
  }

  /** Wipes every key below number `end`; how many there were. */
  burnBelow(end: number): number {
    return this.#remove(0, end, () => undefined);
  }

  /** Wipes what came before `ms` of the monotonic clock; how many keys there were. */
  burnOlder(ms: number): number {
    let burned = 0;
    for (const run of this.#runs.filter(({ sinceMs }) => sinceMs < ms)) {
      burned += this.#remove(run.first, run.first + run.keys.length / QKD_SECRET_BYTES, () => undefined);
    }
    return burned;
  }

  /** Wipes all; how many keys there were. */
  wipe(): number {
    return this.burnBelow(Number.POSITIVE_INFINITY);
  }

  /** Wipes the keys of the numbers [first, end) that are there, each piece after `see` has seen it. */
  #remove(first: number, end: number, see: (keys: Buffer, number: number) => void): number {
    let removed = 0;
    for (let i = 0; i < this.#runs.length; ) {
      const run = this.#runs[i] as Run;
      const behind = run.first + run.keys.length / QKD_SECRET_BYTES;
      if (run.first >= end) break;
      if (behind <= first) {
        i += 1;
        continue;
      }
      const from = Math.max(first, run.first);
      const to = Math.min(end, behind);
      const piece = run.keys.subarray(
        (from - run.first) * QKD_SECRET_BYTES,
        (to - run.first) * QKD_SECRET_BYTES,
      );
      see(piece, from);
      piece.fill(0);
      removed += to - from;
      const left = [
        { first: run.first, keys: run.keys.subarray(0, (from - run.first) * QKD_SECRET_BYTES) },
        { first: to, keys: run.keys.subarray((to - run.first) * QKD_SECRET_BYTES) },
      ].filter(({ keys }) => keys.length > 0);
      this.#runs.splice(i, 1, ...left.map((part) => ({ ...part, sinceMs: run.sinceMs })));
      i += left.length;
    }
    this.#count -= removed;
    return removed;
  }
}
