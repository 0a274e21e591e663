import type { SourcePolicy } from '#common/policy/policy-section.ts';
import type { DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import { MAY_LACK } from './may-lack.ts';

const KEY_BYTES = 32;

export interface WovenKeysOptions {
  /** `policy.sources` of a node. */
  policyOf(node: string): SourcePolicy;
  /** Learns of a QKD key that was woven twice. */
  repeated(text: string): void;
  /** Learns of a batch that lacks what a policy wants. */
  complain(text: string): void;
}

/** What each node weaves: no QKD key into two chunks, and nothing that lacks more sources than both nodes let be. */
export class WovenKeys {
  readonly #seen = new Set<string>();
  readonly #o: WovenKeysOptions;

  constructor(options: WovenKeysOptions) {
    this.#o = options;
  }

  /** Notes what a node derives. */
  note(node: string, { batches }: DeriveRequest): void {
    for (const { slots, firstIndex, count, context } of batches) {
      const woven = slots.map(({ slot }) => slot?.algorithm ?? '');
      const named = /[?&]key_sources=([^&]*)/.exec(context?.source ?? '')?.[1]?.split(',') ?? [];
      const ends = [context?.initiatorNode ?? '', context?.responderNode ?? ''];
      const lacks = (['qkd', 'pqc'] as const).filter((kind) => ofKind(woven, kind) < ofKind(named, kind));
      const mayBe = ends.every((end) =>
        lacks.every((kind) => MAY_LACK[this.#o.policyOf(end)].includes(kind)),
      );
      if (!mayBe || named.length === 0)
        this.#o.complain(`${node.slice(0, 2)}: ${woven} are woven where ${named} are named`);
      for (const { slot, secrets } of slots) {
        if (slot?.algorithm !== 'QKD') continue;
        for (let i = 0; i < count; i++) {
          const key = Buffer.from(secrets.subarray(i * KEY_BYTES, (i + 1) * KEY_BYTES)).toString('hex');
          const name = `${node} ${key}`;
          if (this.#seen.has(name)) {
            this.#o.repeated(
              `${node.slice(0, 2)}: a QKD key was woven twice, now at index ${firstIndex + i}`,
            );
          }
          this.#seen.add(name);
        }
      }
    }
  }
}

function ofKind(names: readonly string[], kind: 'qkd' | 'pqc'): number {
  const kems = names.filter((name) => name.startsWith('ML-KEM')).length;
  return kind === 'qkd' ? names.filter((name) => name === 'QKD').length : kems;
}
