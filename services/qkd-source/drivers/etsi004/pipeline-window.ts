/** Most requests under way on one connection. */
export const MAX_WINDOW = 32;

/**
 * How many requests may be sent ahead on one connection: one until the key
 * manager has been seen to take several. Then it doubles while all goes well,
 * and begins anew when the key manager runs dry: a key that becomes ready in
 * the middle of a burst would be skipped.
 */
export class PipelineWindow {
  #isOpen = false;
  #size = 1;

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get size(): number {
    return this.#isOpen ? this.#size : 1;
  }

  /** The key manager takes several requests at once. */
  open(): void {
    this.#isOpen = true;
  }

  /** It does not, or no longer. */
  shut(): void {
    this.#isOpen = false;
    this.#size = 1;
  }

  succeeded(): void {
    this.#size = Math.min(MAX_WINDOW, this.#size * 2);
  }

  ranDry(): void {
    this.#size = 1;
  }
}
