import { inspect } from 'node:util';
import type { Secret } from '#common/crypto/secret.ts';

/** Metadata of a key: what ETSI GS QKD 004 V2.1.1, Table 3, names, and whatever the node adds. */
export interface KeyMetadata {
  /** Milliseconds since both ends had the key. */
  readonly age?: number;
  /** Trusted nodes between the two. */
  readonly hops?: number;
  readonly [name: string]: unknown;
}

/** One key of a stream. The application's: `using`, or `wipe()`, ends it. */
export class DeliveredKey {
  /** The same index is the same key at both ends. */
  readonly index: number;
  /** Neither prints nor serialises; `expose()` lends its bytes. */
  readonly key: Secret;
  /** As the node sent it; empty where there is none. */
  readonly metadataText: string;

  /** Takes ownership of `key`. */
  constructor(index: number, key: Secret, metadataText: string) {
    this.index = index;
    this.key = key;
    this.metadataText = metadataText;
  }

  /** What the metadata says; empty where it is no JSON object. */
  get metadata(): KeyMetadata {
    try {
      const read: unknown = JSON.parse(this.metadataText);
      return typeof read === 'object' && read !== null && !Array.isArray(read) ? (read as KeyMetadata) : {};
    } catch {
      return {};
    }
  }

  /** Zeroes the key; safe to repeat. */
  wipe(): void {
    this.key.wipe();
  }

  [Symbol.dispose](): void {
    this.wipe();
  }

  toJSON(): object {
    const { index, metadata } = this;
    return { index, key: this.key.toJSON(), metadata };
  }

  [inspect.custom](): string {
    return `DeliveredKey { index: ${this.index}, key: ${this.key} }`;
  }
}
