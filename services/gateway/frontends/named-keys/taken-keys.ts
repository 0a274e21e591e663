import type { Secret } from '#common/crypto/secret.ts';

/** A key that goes to a party; whoever has it wipes it. */
export interface TakenKey {
  /** key_ID. */
  readonly id: string;
  readonly key: Secret;
}

interface Kept<K, V extends { readonly key: Secret }> {
  readonly name: K;
  readonly value: V;
  readonly untilMs: number;
}

/** Keys by name, for a time, within a limit: the oldest go first, and what goes is wiped. */
export class KeptKeys<K, V extends { readonly key: Secret }> {
  readonly #most: number;
  /** In the order in which they end. */
  readonly #kept = new Map<K, Kept<K, V>>();

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#kept.size;
  }

  /** Takes ownership of the key. Called with times that never go back. */
  keep(name: K, value: V, untilMs: number): void {
    this.#kept.set(name, { name, value, untilMs });
    if (this.#kept.size > this.#most) this.#wipeFirst();
  }

  get(name: K): V | undefined {
    return this.#kept.get(name)?.value;
  }

  /** Gives the key away: the caller owns it. */
  take(name: K): V | undefined {
    const value = this.#kept.get(name)?.value;
    this.#kept.delete(name);
    return value;
  }

  /** Gives the oldest away. */
  takeFirst(): V | undefined {
    for (const name of this.#kept.keys()) return this.take(name);
    return undefined;
  }

  /** Wipes those whose time is over. */
  wipeEnded(nowMs: number): void {
    for (const { untilMs } of this.#kept.values()) {
      if (untilMs > nowMs) return;
      this.#wipeFirst();
    }
  }

  wipeAll(): void {
    while (this.#kept.size > 0) this.#wipeFirst();
  }

  #wipeFirst(): void {
    this.takeFirst()?.key.wipe();
  }
}
