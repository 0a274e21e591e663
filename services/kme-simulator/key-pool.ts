import { randomBytes, randomUUID } from 'node:crypto';
import type { KeySupply } from './key-supply.ts';

interface PooledKey {
  readonly master: number;
  readonly slave: number;
  readonly key: Buffer;
}

/** Keys that one end has been given by name, and the other has not fetched yet. */
export class KeyPool {
  readonly #supply: Pick<KeySupply, 'spend'>;
  readonly #maxHeldBytes: number;
  readonly #keys = new Map<string, PooledKey>();
  #heldBytes = 0;
  #made = 0;

  /** @param options.maxHeldBytes of keys that have not been fetched; with more the oldest are forgotten. */
  constructor(options: { supply: Pick<KeySupply, 'spend'>; maxHeldBytes: number }) {
    this.#supply = options.supply;
    this.#maxHeldBytes = options.maxHeldBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  get made(): number {
    return this.#made;
  }

  /** A new key for `master`, which `slave` may fetch once; undefined when the link has run dry. */
  make(master: number, slave: number, bytes: number): { id: string; key: Buffer } | undefined {
    if (!this.#supply.spend(bytes)) return undefined;
    const key = randomBytes(bytes);
    const id = randomUUID();
    this.#keys.set(id, { master, slave, key });
    this.#heldBytes += bytes;
    this.#made += 1;
    for (const oldest of this.#keys.keys()) {
      if (this.#heldBytes <= this.#maxHeldBytes) break;
      this.#forget(oldest);
    }
    return { id, key: Buffer.from(key) };
  }

  /** The keys of these ids, all of them or, where one is not there for `slave`, none. */
  fetch(master: number, slave: number, ids: readonly string[]): Buffer[] | undefined {
    const found = ids.map((id) => this.#keys.get(id.toLowerCase()));
    if (new Set(ids).size !== ids.length) return undefined;
    if (!found.every((one) => one?.master === master && one.slave === slave)) return undefined;
    for (const id of ids) this.#forget(id.toLowerCase());
    return found.map((one) => (one as PooledKey).key);
  }

  #forget(id: string): void {
    const pooled = this.#keys.get(id);
    if (!pooled) return;
    this.#keys.delete(id);
    this.#heldBytes -= pooled.key.length;
  }
}
