import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';

/** What a process may hold more at the end of a property than once that had settled, MB: in use, and of all memory. */
const LIVE_TOLERANCE_MB = 16;
const RSS_TOLERANCE_MB = 256;

export interface Held {
  readonly liveMb: number;
  readonly rssMb: number;
}

/** What has grown, in words; undefined where nothing has. */
export function growth(from: Held, to: Held): string | undefined {
  const words = [
    grown('MB in use', from.liveMb, to.liveMb, LIVE_TOLERANCE_MB),
    grown('MB resident', from.rssMb, to.rssMb, RSS_TOLERANCE_MB),
  ].filter((each) => each !== undefined);
  return words.length > 0 ? words.join(', ') : undefined;
}

/**
 * Watches the inputs that a process tries: how long each takes, and whether
 * the process holds more towards the end of a property than once that had
 * settled. What properties are made of is not counted, since it may be large
 * and lies there before the first input.
 */
export class FuzzWatch {
  readonly #lookEveryMs: number;
  readonly #maxCaseMs: number;
  #lookAtMs = 0;
  #settled: Held | undefined;
  #cases = 0;
  #startedMs = 0;
  /** Of the property that grew most. */
  #most: readonly [from: Held, to: Held] | undefined;

  /**
   * @param lookEveryMs how often it is looked what the process holds; a property has settled at the first time.
   * @param maxCaseMs an input that takes longer hangs.
   */
  constructor({ lookEveryMs, maxCaseMs }: { lookEveryMs: number; maxCaseMs: number }) {
    this.#lookEveryMs = lookEveryMs;
    this.#maxCaseMs = maxCaseMs;
    process.once('exit', () => this.#judge());
  }

  /** What a property runs around each of its inputs. */
  readonly plugins = [fc.beforeEach(() => this.#begin()), fc.afterEach(() => this.#end())];

  /** A property begins. */
  next(): void {
    this.#settled = undefined;
    this.#lookAtMs = performance.now() + this.#lookEveryMs;
  }

  #begin(): void {
    this.#cases += 1;
    this.#startedMs = performance.now();
    if (this.#startedMs < this.#lookAtMs) return;
    this.#look();
    this.#startedMs = performance.now();
    this.#lookAtMs = this.#startedMs + this.#lookEveryMs;
  }

  /** @throws Error */
  #end(): void {
    const tookMs = performance.now() - this.#startedMs;
    if (tookMs > this.#maxCaseMs) throw new Error(`an input took ${Math.round(tookMs)} ms`);
  }

  #look(): void {
    const to = held();
    this.#settled ??= to;
    const from = this.#settled;
    const growthOf = ([before, after]: readonly [Held, Held]) =>
      Math.max(
        (after.liveMb - before.liveMb) / LIVE_TOLERANCE_MB,
        (after.rssMb - before.rssMb) / RSS_TOLERANCE_MB,
      );
    if (this.#most === undefined || growthOf([from, to]) > growthOf(this.#most)) this.#most = [from, to];
  }

  #judge(): void {
    const now = held();
    const [from, to] = this.#most ?? [now, now];
    process.stdout.write(
      `${this.#cases} inputs, ${Math.round(from.liveMb)} to ${Math.round(to.liveMb)} MB in use\n`,
    );
    const grew = growth(from, to);
    if (grew === undefined) return;
    process.stderr.write(`memory grew: ${grew}\n`);
    process.exitCode = 1;
  }
}

/** What this process holds, once nothing is left that nobody needs. */
function held(): Held {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  collect();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { liveMb: (heapUsed + external) / 1e6, rssMb: rss / 1e6 };
}

function grown(what: string, from: number, to: number, tolerance: number): string | undefined {
  return to > from + tolerance ? `${Math.round(from)} to ${Math.round(to)} ${what}` : undefined;
}
