import { availableParallelism } from 'node:os';
import type { KemAlgorithm, KemCost } from '#common/catalogue/kems.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { joinKeyPairs } from './engines/joined-key-pairs.ts';
import type { KemEngine, KeyPairs } from './engines/kem-engine.ts';
import { Shelf, type Waiter } from './key-pair-shelf.ts';

/** Key pairs that take longer are made ahead. */
const SLOW_MS = 2;

/** How often what nobody asks for any more is looked for. */
const TRIM_MS = 5_000;

/** A failed generation keeps the background from trying again at once. */
const RETRY_MS = 1_000;

export interface KeyPairPoolOptions {
  /** Of one algorithm; 0 makes none ahead. */
  readonly maxPairs: number;
  /** Of all algorithms together, public and private keys. */
  readonly maxBytes: number;
  /** Milliseconds of a steady clock. */
  readonly now: () => number;
  readonly log: Log;
  /** Generations at a time, of algorithms of one cost; at most one of them is the background's. */
  readonly concurrency?: number;
}

/** What a pool has done for one algorithm since the start. */
export interface PoolCounters {
  /** Key pairs that lie ready, and their size. */
  readonly ready: number;
  readonly readyBytes: number;
  /** Key pairs handed out at once; made while somebody waited. */
  readonly hits: number;
  readonly misses: number;
}

/**
 * Makes key pairs, those that take long ahead of demand: one-time pairs, in the
 * background, as many as were asked for lately, within bounds of number and
 * memory. A pair leaves the pool once, to one caller, who wipes it; what is
 * left is wiped when it is no longer asked for and when the pool closes.
 *
 * Algorithms marked heavy are slow, light ones are not; of others the pool
 * finds out by measuring, which includes what the machine is busy with.
 */
export class KeyPairPool {
  readonly #options: KeyPairPoolOptions;
  readonly #concurrency: number;
  readonly #shelves = new Map<string, Shelf>();
  readonly #trimmer: NodeJS.Timeout;
  /** By cost, so that those who wait for a quick algorithm never wait for a slow one. */
  readonly #running: Record<KemCost, { all: number; ahead: number }> = {
    light: { all: 0, ahead: 0 },
    medium: { all: 0, ahead: 0 },
    heavy: { all: 0, ahead: 0 },
  };
  #closed = false;

  constructor(options: KeyPairPoolOptions) {
    this.#options = options;
    this.#concurrency = options.concurrency ?? Math.max(1, availableParallelism());
    this.#trimmer = setInterval(() => this.#trim(), TRIM_MS).unref();
  }

  /**
   * `count` fresh key pairs, out of the pool where it has them. The caller owns them.
   * @throws KeyweaveError as the engine does; SHUTTING_DOWN once the pool is closed.
   */
  async generate(algorithm: KemAlgorithm, engine: KemEngine, count: number): Promise<KeyPairs> {
    if (this.#closed) throw stopping();
    const shelf = this.#shelfOf(algorithm, engine);
    if (!shelf.slow) return this.#generateNow(shelf, count);
    shelf.asked(count, this.#options.now());
    const pairs = shelf.take(count);
    const waiters = Array.from({ length: count - pairs.length }, () => shelf.wait());
    this.#fill(algorithm.cost);
    const settled = await Promise.allSettled(waiters.map((waiter) => waiter.promise));
    for (const outcome of settled) if (outcome.status === 'fulfilled') pairs.push(outcome.value);
    const failed = settled.find((outcome) => outcome.status === 'rejected');
    if (failed) {
      for (const { privateKeys } of pairs) privateKeys.wipe();
      throw failed.reason;
    }
    return joinKeyPairs(pairs);
  }

  /** Counters of one algorithm; undefined when nobody has asked for it. */
  counters(name: string): PoolCounters | undefined {
    const shelf = this.#shelves.get(name);
    return (
      shelf && {
        ready: shelf.ready,
        readyBytes: shelf.ready * shelf.pairBytes,
        hits: shelf.hits,
        misses: shelf.misses,
      }
    );
  }

  /** Wipes what lies ready; those who wait are refused, and what is still being made is wiped when it comes. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#trimmer);
    for (const shelf of this.#shelves.values()) {
      const { hits, misses, ready } = shelf;
      if (hits + misses > 0)
        this.#options.log.debug('key pairs made ahead', {
          algorithm: shelf.algorithm.name,
          hits,
          misses,
          ready,
        });
      shelf.trimTo(0);
      shelf.refuseAll(stopping());
    }
  }

  #shelfOf(algorithm: KemAlgorithm, engine: KemEngine): Shelf {
    let shelf = this.#shelves.get(algorithm.name);
    if (shelf?.engine !== engine) {
      shelf?.trimTo(0);
      shelf = new Shelf(algorithm, engine);
      this.#shelves.set(algorithm.name, shelf);
    }
    return shelf;
  }

  async #generateNow(shelf: Shelf, count: number): Promise<KeyPairs> {
    const { now } = this.#options;
    const started = now();
    const made = await shelf.engine.generateKeyPairs(shelf.algorithm, count);
    shelf.measured((now() - started) / count, SLOW_MS);
    return made;
  }

  /** Starts generations: for those who wait first, then the background's. */
  #fill(cost: KemCost): void {
    const running = this.#running[cost];
    while (!this.#closed && running.all < this.#concurrency) {
      const wanted = this.#longestWaiting(cost);
      const shelf = wanted ?? (running.ahead === 0 ? this.#emptiest(cost) : undefined);
      if (!shelf) return;
      void this.#make(shelf, wanted === undefined);
    }
  }

  async #make(shelf: Shelf, ahead: boolean): Promise<void> {
    const { cost } = shelf.algorithm;
    const running = this.#running[cost];
    running.all += 1;
    if (ahead) running.ahead += 1;
    shelf.making += 1;
    try {
      const made = await this.#generateNow(shelf, 1);
      if (this.#closed) made.privateKeys.wipe();
      else shelf.put(made);
    } catch (error) {
      shelf.failed(error, this.#options.now() + RETRY_MS);
    } finally {
      running.all -= 1;
      if (ahead) running.ahead -= 1;
      shelf.making -= 1;
    }
    this.#fill(cost);
  }

  *#shelvesOf(cost: KemCost): Iterable<Shelf> {
    for (const shelf of this.#shelves.values()) if (shelf.algorithm.cost === cost) yield shelf;
  }

  /** Somebody waits there for whom no pair is being made yet. */
  #longestWaiting(cost: KemCost): Shelf | undefined {
    let first: { shelf: Shelf; waiter: Waiter } | undefined;
    for (const shelf of this.#shelvesOf(cost)) {
      const waiter = shelf.unserved;
      if (waiter && (!first || waiter.since < first.waiter.since)) first = { shelf, waiter };
    }
    return first?.shelf;
  }

  /** The shelf that lacks the largest part of what it should have, of those with room. */
  #emptiest(cost: KemCost): Shelf | undefined {
    const now = this.#options.now();
    const room = this.#options.maxBytes - this.#bytes();
    let found: { shelf: Shelf; part: number } | undefined;
    for (const shelf of this.#shelvesOf(cost)) {
      const target = shelf.target(now, this.#options.maxPairs);
      const have = shelf.ready + shelf.making;
      if (have >= target || shelf.pairBytes > room || shelf.pausedUntil > now) continue;
      const part = have / target;
      if (!found || part < found.part) found = { shelf, part };
    }
    return found?.shelf;
  }

  #bytes(): number {
    let bytes = 0;
    for (const shelf of this.#shelves.values()) bytes += (shelf.ready + shelf.making) * shelf.pairBytes;
    return bytes;
  }

  /** Wipes what demand no longer calls for, and fills up where a failure had stopped that. */
  #trim(): void {
    const now = this.#options.now();
    for (const shelf of this.#shelves.values()) shelf.trimTo(shelf.target(now, this.#options.maxPairs));
    for (const cost of Object.keys(this.#running) as KemCost[]) this.#fill(cost);
  }
}

function stopping(): KeyweaveError {
  return new KeyweaveError('SHUTTING_DOWN', 'pqc-source is stopping');
}
