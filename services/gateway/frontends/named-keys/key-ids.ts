import { hash } from 'node:crypto';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { UUID_ANY_CASE } from '#common/ids/uuid.ts';
import type { KeyKind } from './key-kinds.ts';

const TAG_DIGITS = 8;

/** Where the digit of the kind stands. */
const DIGIT_AT = 14;

/**
 * The key_IDs of one stream, which both ends make of its KSID and the key's
 * index, so that none has to be told.
 *
 * ```
 * tttttttt-iiii-dhhh-vhhh-hhhhhhhhiiii
 * ```
 *
 * d: the digit of the kind; t: the stream's tag, 32 bits of SHA-256(label, KSID); i: the index, 32 bits;
 * h, and two bits of v: 58 bits of SHA-256(label, KSID, index), by which an end
 * knows that the other one has made it. Whoever does not know the KSID cannot
 * tell the key_ID of another key.
 */
export class KeyIds {
  /** The first digits of each. */
  readonly tag: string;
  readonly #digit: string;
  readonly #hashed: Buffer;

  /** @param ksid UUID in text form. */
  constructor(ksid: string, { label, digit }: Pick<KeyKind, 'label' | 'digit'>) {
    const name = Buffer.from(ksid.replaceAll('-', ''), 'hex');
    if (name.length !== 16) throw new KeyweaveError('INTERNAL', 'a KSID is no UUID');
    this.#digit = digit;
    const seed = Buffer.concat([Buffer.from(label), name]);
    this.tag = hash('sha256', seed, 'hex').slice(0, TAG_DIGITS);
    this.#hashed = Buffer.concat([seed, Buffer.alloc(4)]);
  }

  /** Of the key at `index`, a u32, in lower case. */
  of(index: number): string {
    const hashed = this.#hashed;
    hashed.writeUInt32BE(index, hashed.length - 4);
    const check = hash('sha256', hashed, 'hex');
    const digits = (index + 0x1_0000_0000).toString(16);
    const variant = (8 | (check.charCodeAt(14) & 3)).toString(16);
    return `${this.tag}-${digits.slice(1, 5)}-${this.#digit}${check.slice(0, 3)}-${variant}${check.slice(3, 6)}-${check.slice(6, 14)}${digits.slice(5)}`;
  }

  /** The index of a key_ID in lower case; undefined where it is none of this stream's. */
  indexOf(id: string): number | undefined {
    const index = Number.parseInt(id.slice(9, 13) + id.slice(32), 16);
    return this.of(index) === id ? index : undefined;
  }
}

/** Whether the form of a key_ID in lower case is that of a kind. */
export function isOfKind(id: string, { digit }: Pick<KeyKind, 'digit'>): boolean {
  return id[DIGIT_AT] === digit;
}

/** The tag of a key_ID in lower case. */
export function tagOf(id: string): string {
  return id.slice(0, TAG_DIGITS);
}

/** A key_ID in lower case; undefined for what is no UUID. Any version is one: others' key managers make them as they like. */
export function readKeyId(text: string): string | undefined {
  return UUID_ANY_CASE.test(text) ? text.toLowerCase() : undefined;
}
