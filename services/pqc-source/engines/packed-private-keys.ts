import type { KemEngineName } from '#common/catalogue/kems.ts';
import { wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { PrivateKeyBatch } from './kem-engine.ts';

/** Private keys as bytes, end to end; owns them and zeroes them when wiped. */
export class PackedPrivateKeys implements PrivateKeyBatch {
  readonly count: number;
  readonly #engine: KemEngineName;
  #bytes: Uint8Array | undefined;

  constructor(engine: KemEngineName, bytes: Uint8Array, count: number) {
    this.#engine = engine;
    this.#bytes = bytes;
    this.count = count;
  }

  wipe(): void {
    wipe(this.#bytes);
    this.#bytes = undefined;
  }

  /**
   * Lends the first `count` keys to the engine that made them.
   * @throws KeyweaveError AGREEMENT_FAILED for keys of another engine, wiped ones or too few.
   */
  static lend(keys: PrivateKeyBatch, engine: KemEngineName, count: number): Uint8Array {
    const bytes = keys instanceof PackedPrivateKeys && keys.#engine === engine ? keys.#bytes : undefined;
    if (!bytes || count > keys.count) {
      throw new KeyweaveError('AGREEMENT_FAILED', 'key encapsulation failed');
    }
    return bytes.subarray(0, count * (bytes.length / keys.count));
  }
}
