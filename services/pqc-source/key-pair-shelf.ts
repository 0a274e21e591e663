import type { KemAlgorithm } from '#common/catalogue/kems.ts';
import type { KemEngine, KeyPairs } from './engines/kem-engine.ts';

/** Demand is forgotten by half in this time. */
const HALF_LIFE_MS = 30_000;

/** Kept as long as an algorithm is asked for at all. */
const MIN_PAIRS = 2;

/** Demand below this is none: a single request is forgotten in 10 minutes. */
const NO_DEMAND = 2 ** -20;

/** Weight of the newest measurement of a key generation. */
const NEWEST = 0.25;

/** The first generations start threads and compile code; nothing is concluded from them. */
const MIN_MEASUREMENTS = 4;

/** Somebody who waits for one key pair. */
export interface Waiter extends PromiseWithResolvers<KeyPairs> {
  /** Order of arrival over all shelves. */
  readonly since: number;
}

let arrivals = 0;

/** The single key pairs of one algorithm that lie ready, and those who wait for one. */
export class Shelf {
  readonly algorithm: KemAlgorithm;
  readonly engine: KemEngine;
  readonly pairBytes: number;
  readonly #pairs: KeyPairs[] = [];
  readonly #waiters: Waiter[] = [];
  /** Generations under way. */
  making = 0;
  hits = 0;
  misses = 0;
  /** The background leaves the shelf alone until then. */
  pausedUntil = Number.NEGATIVE_INFINITY;
  /** Whether pairs are made ahead. */
  slow: boolean;
  #measurements = 0;
  #pairMs = 0;
  #demand = 0;
  #demandAt = 0;

  constructor(algorithm: KemAlgorithm, engine: KemEngine) {
    this.algorithm = algorithm;
    this.engine = engine;
    this.slow = algorithm.cost === 'heavy';
    this.pairBytes = algorithm.publicKeyBytes + algorithm.privateKeyBytes;
  }

  get ready(): number {
    return this.#pairs.length;
  }

  /** The first waiter for whom no pair is being made. */
  get unserved(): Waiter | undefined {
    return this.#waiters[this.making];
  }

  /** Notes how long a pair took; longer than `slowMs` on average means making them ahead, until it is half that. */
  measured(pairMs: number, slowMs: number): void {
    if (this.algorithm.cost !== 'medium') return;
    this.#measurements += 1;
    this.#pairMs =
      this.#measurements < MIN_MEASUREMENTS ? pairMs : this.#pairMs * (1 - NEWEST) + pairMs * NEWEST;
    if (this.#measurements >= MIN_MEASUREMENTS) this.slow = this.#pairMs > (this.slow ? slowMs / 2 : slowMs);
  }

  asked(count: number, now: number): void {
    this.#demand = this.#demandNow(now) + count;
    this.#demandAt = now;
  }

  /** Pairs that should lie ready: as many as were asked for lately. */
  target(now: number, maxPairs: number): number {
    const demand = this.#demandNow(now);
    return demand < NO_DEMAND ? 0 : Math.min(maxPairs, Math.max(MIN_PAIRS, Math.ceil(demand)));
  }

  /** Up to `count` pairs, the oldest first; those that are missing count as misses. */
  take(count: number): KeyPairs[] {
    // Whoever waits already comes first.
    const taken = this.#waiters.length === 0 ? this.#pairs.splice(0, count) : [];
    this.hits += taken.length;
    this.misses += count - taken.length;
    return taken;
  }

  wait(): Waiter {
    const waiter = { ...Promise.withResolvers<KeyPairs>(), since: ++arrivals };
    this.#waiters.push(waiter);
    return waiter;
  }

  /** A new pair: the first who waits gets it. */
  put(pair: KeyPairs): void {
    const waiter = this.#waiters.shift();
    if (waiter) waiter.resolve(pair);
    else this.#pairs.push(pair);
  }

  /** A generation failed: whoever waited for it is told. */
  failed(error: unknown, pausedUntil: number): void {
    this.pausedUntil = pausedUntil;
    this.#waiters.shift()?.reject(error);
  }

  refuseAll(error: unknown): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  /** Wipes all but the newest `count` pairs. */
  trimTo(count: number): void {
    const excess = this.#pairs.length - count;
    if (excess > 0) for (const { privateKeys } of this.#pairs.splice(0, excess)) privateKeys.wipe();
  }

  #demandNow(now: number): number {
    return this.#demand * 2 ** (-(now - this.#demandAt) / HALF_LIFE_MS);
  }
}
