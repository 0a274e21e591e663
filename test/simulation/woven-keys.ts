import type { DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';

const KEY_BYTES = 32;

/** The QKD keys that each node has woven, so that one which goes into two chunks is found. */
export class WovenKeys {
  readonly #seen = new Set<string>();
  readonly #complain: (text: string) => void;

  constructor(complain: (text: string) => void) {
    this.#complain = complain;
  }

  /** Notes what a node derives. */
  note(node: string, { batches }: DeriveRequest): void {
    for (const { slots, firstIndex, count } of batches) {
      for (const { slot, secrets } of slots) {
        if (slot?.algorithm !== 'QKD') continue;
        for (let i = 0; i < count; i++) {
          const key = Buffer.from(secrets.subarray(i * KEY_BYTES, (i + 1) * KEY_BYTES)).toString('hex');
          const name = `${node} ${key}`;
          if (this.#seen.has(name)) {
            this.#complain(`${node.slice(0, 2)}: a QKD key was woven twice, now at index ${firstIndex + i}`);
          }
          this.#seen.add(name);
        }
      }
    }
  }
}
