import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type AgreementMethod, CALL_LIMITS } from '#common/limits/message-limits.ts';

/**
 * Calls under way of each peer, by method. Beyond its limit a peer is refused
 * at once and in words, so that it takes nothing from the others.
 */
export class CallsUnderWay {
  readonly #counts = new Map<string, number>();

  /**
   * Counts `call` for `peer` until it settles.
   *
   * @throws KeyweaveError LIMIT_EXCEEDED when the peer has its limit of such calls under way.
   */
  async run<T>(peer: string, method: AgreementMethod, call: () => Promise<T>): Promise<T> {
    const key = `${method} ${peer}`;
    const count = this.#counts.get(key) ?? 0;
    const most = CALL_LIMITS[method].taken;
    if (count >= most) {
      throw new KeyweaveError(
        'LIMIT_EXCEEDED',
        `${most} ${method} calls between this node and node ${peer} are under way; wait for some of them to end`,
      );
    }
    this.#counts.set(key, count + 1);
    try {
      return await call();
    } finally {
      const left = (this.#counts.get(key) as number) - 1;
      if (left === 0) this.#counts.delete(key);
      else this.#counts.set(key, left);
    }
  }
}
