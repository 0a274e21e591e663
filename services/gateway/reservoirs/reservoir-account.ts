/** Where the QKD keys of a reservoir have gone; `taken` is the sum of all the others. */
export interface ReservoirBalance {
  /** Keys that the key manager has given. */
  readonly taken: number;
  /** Keys that went into chunks on which both ends agreed. */
  readonly woven: number;
  /** Keys that nobody will use, by reason. */
  readonly burned: ReadonlyMap<string, number>;
}

/** Counts what becomes of the QKD keys of one link. */
export class ReservoirAccount {
  #taken = 0;
  #woven = 0;
  readonly #burned = new Map<string, number>();

  get balance(): ReservoirBalance {
    return { taken: this.#taken, woven: this.#woven, burned: new Map(this.#burned) };
  }

  taken(keys: number): void {
    this.#taken += keys;
  }

  woven(keys: number): void {
    this.#woven += keys;
  }

  burned(keys: number, why: string): void {
    if (keys > 0) this.#burned.set(why, (this.#burned.get(why) ?? 0) + keys);
  }
}
