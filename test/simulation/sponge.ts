/**
 * A quick stand-in for a hash, of 128 bits and no secrecy: what went in decides
 * on what comes out, and nothing else does. Simulated keys need no more, and
 * real hashes would take most of a simulation's time.
 */
export class Sponge {
  #a = 0x243f6a88;
  #b = 0x85a308d3;
  #c = 0x13198a2e;
  #d = 0x03707344;

  /** Takes the bytes in, and where they end. */
  absorb(bytes: Uint8Array): this {
    for (let i = 0; i < bytes.length; i++) this.#mix(bytes[i] as number);
    this.#mix(0x100 + (bytes.length & 0xff));
    return this;
  }

  absorbNumber(number: number): this {
    this.#mix(number >>> 0);
    this.#mix(Math.floor(number / 2 ** 32) >>> 0);
    return this;
  }

  copy(): Sponge {
    const copy = new Sponge();
    copy.#a = this.#a;
    copy.#b = this.#b;
    copy.#c = this.#c;
    copy.#d = this.#d;
    return copy;
  }

  /** Fills `into`; every call gives something else. */
  squeeze<T extends Uint8Array>(into: T): T {
    for (let i = 0; i < into.length; i += 4) {
      this.#mix(i);
      const word = this.#a ^ this.#c;
      into[i] = word;
      into[i + 1] = word >>> 8;
      into[i + 2] = word >>> 16;
      into[i + 3] = word >>> 24;
    }
    return into;
  }

  #mix(word: number): void {
    this.#a = Math.imul(this.#a ^ word, 0x9e3779b1);
    this.#b = Math.imul(this.#b ^ (this.#a >>> 15), 0x85ebca77) + word;
    this.#c = Math.imul(this.#c ^ this.#b, 0xc2b2ae3d) ^ (this.#c >>> 13);
    this.#d = Math.imul(this.#d + this.#c, 0x27d4eb2f);
    this.#a ^= this.#d >>> 11;
  }
}
