import { hash, randomFillSync } from 'node:crypto';
import { DigestMemory } from './digest-memory.ts';
import { SECRET_BYTES } from './secret-bytes.ts';

/** Secrets that are remembered of each stream, and of all streams together: the last so many, at least. */
const OF_STREAM = 4096;
const OF_ALL = 65_536;

/** What the memories of single streams may take together; the one that was used longest ago goes. */
const MAX_BYTES = 32 * 1024 * 1024;

/** Shorter ones may be equal, or zero, by chance. */
const MIN_SECRET_BYTES = 16;

const SALT_BYTES = 16;
const ZEROS = Buffer.alloc(SECRET_BYTES);

/** What no sound key manager gives. */
export type KeyFault = 'repeated' | 'zero';

/**
 * What this process has given away, so that a key manager that gives a secret
 * twice, in one stream or in two, is noticed: both secrets would be woven into
 * keys, and xored they are nothing. Holds 8 bytes of a digest of each, under a
 * salt that nobody knows; never a secret.
 */
export class GivenKeys {
  readonly #all = new DigestMemory(OF_ALL);
  /** By stream, the one used last at the end. */
  readonly #streams = new Map<string, DigestMemory>();
  #bytes = 0;
  /** The salt, and behind it the secret that is being digested. */
  readonly #scratch = randomFillSync(Buffer.allocUnsafeSlow(SALT_BYTES + SECRET_BYTES), 0, SALT_BYTES);

  readonly #maxBytes: number;

  constructor(maxBytes = MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes that the memories of single streams take. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Notes the secrets that `keys` hold, which lie end to end and stay the
   * caller's, and says what is wrong with them, if anything.
   *
   * @param keyBytes size of each key: one secret, or a block of them.
   */
  faultOf(stream: string, keys: Buffer, keyBytes: number): KeyFault | undefined {
    const own = this.#streams.get(stream) ?? new DigestMemory(OF_STREAM);
    const before = this.#streams.delete(stream) ? own.bytes : 0;
    try {
      for (let key = 0; key < keys.length; key += keyBytes) {
        for (let at = key; at < key + keyBytes; at += SECRET_BYTES) {
          const length = Math.min(SECRET_BYTES, key + keyBytes - at);
          const fault = length < MIN_SECRET_BYTES ? undefined : this.#secretFault(own, keys, at, length);
          if (fault) return fault;
        }
      }
      return undefined;
    } finally {
      this.#scratch.fill(0, SALT_BYTES);
      this.#streams.set(stream, own);
      this.#bytes += own.bytes - before;
      this.#limit();
    }
  }

  /** Nothing more is read of the stream; what it has given stays known among the last of all. */
  forget(stream: string): void {
    this.#bytes -= this.#streams.get(stream)?.bytes ?? 0;
    this.#streams.delete(stream);
  }

  #secretFault(own: DigestMemory, keys: Buffer, at: number, length: number): KeyFault | undefined {
    if (keys[at] === 0 && ZEROS.compare(keys, at, at + length, 0, length) === 0) return 'zero';
    const scratch = length === SECRET_BYTES ? this.#scratch : this.#scratch.subarray(0, SALT_BYTES + length);
    keys.copy(scratch, SALT_BYTES, at, at + length);
    const digest = hash('sha256', scratch, 'buffer');
    const high = digest.readUInt32LE(0);
    const low = digest.readUInt32LE(4);
    const knownToAll = this.#all.add(high, low);
    return own.add(high, low) || knownToAll ? 'repeated' : undefined;
  }

  #limit(): void {
    for (const stream of this.#streams.keys()) {
      if (this.#bytes <= this.#maxBytes) return;
      this.forget(stream);
    }
  }
}
