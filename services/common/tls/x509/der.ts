/** One element of DER (X.690): its tag, its content and all of it. Both are views. */
export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  readonly whole: Buffer;
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectId: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  /** [0] and [3] EXPLICIT */
  context0: 0xa0,
  context3: 0xa3,
  /** [0] IMPLICIT of a plain type */
  key0: 0x80,
} as const;

/** Reads elements one after the other; only definite lengths in their shortest form, as DER has them. */
export class DerReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** The tag of the next element; undefined at the end. */
  get tag(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** @throws RangeError where there is no element of that tag. */
  next(tag: number): DerElement {
    if (this.tag !== tag) throw new RangeError(`DER: tag ${tag} expected, ${this.tag ?? 'the end'} found`);
    return this.any();
  }

  /** The next element where it has that tag. */
  optional(tag: number): DerElement | undefined {
    return this.tag === tag ? this.any() : undefined;
  }

  /** @throws RangeError where the next element is cut off or not DER. */
  any(): DerElement {
    const bytes = this.#bytes;
    const start = this.#at;
    const tag = byteAt(bytes, start);
    if ((tag & 0x1f) === 0x1f) throw new RangeError('DER: a tag of more than one byte');
    const first = byteAt(bytes, start + 1);
    let length = first;
    let from = start + 2;
    if (first >= 0x80) {
      const lengthBytes = first & 0x7f;
      if (lengthBytes === 0 || lengthBytes > 4) throw new RangeError('DER: a length that is not read here');
      length = 0;
      for (let i = 0; i < lengthBytes; i++) length = length * 256 + byteAt(bytes, from + i);
      from += lengthBytes;
      if (length < 0x80 || length < 256 ** (lengthBytes - 1))
        throw new RangeError('DER: a length that is longer than it needs');
    }
    const end = from + length;
    if (end > bytes.length) throw new RangeError('DER: an element is cut off');
    this.#at = end;
    return { tag, content: bytes.subarray(from, end), whole: bytes.subarray(start, end) };
  }

  /** @throws RangeError where something follows. */
  end(): void {
    if (!this.done) throw new RangeError('DER: something follows the last element');
  }
}

function byteAt(bytes: Buffer, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw new RangeError('DER: an element is cut off');
  return byte;
}

/** One element of DER. */
export function derOf(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const hex = content.length.toString(16);
  const length = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  return Buffer.concat([Buffer.of(tag, 0x80 | length.length), length, content]);
}

/** An INTEGER of at least 0, given in hex. */
export function derInteger(hex: string): Buffer {
  const digits = hex.replace(/^0+(?=.)/, '');
  const bytes = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex');
  // It is signed: a first bit of 1 would make it negative.
  return derOf(TAG.integer, Buffer.alloc((bytes[0] ?? 0) >= 0x80 ? 1 : 0), bytes);
}

/** An OBJECT IDENTIFIER, given in dotted form. */
export function derObjectId(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((part) => {
    const groups = [part & 0x7f];
    for (let left = Math.floor(part / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift(0x80 | (left & 0x7f));
    return groups;
  });
  return derOf(TAG.objectId, Buffer.from(bytes));
}

/** A date in the form of RFC 5280, 4.1.2.5: UTCTime until 2049, GeneralizedTime from then on. */
export function derTime(ms: number): Buffer {
  const text = `${new Date(ms).toISOString().replaceAll(/[-T:]/g, '').slice(0, 14)}Z`;
  const isShort = text >= '1950' && text < '2050';
  return derOf(isShort ? TAG.utcTime : TAG.generalizedTime, Buffer.from(isShort ? text.slice(2) : text));
}

/** An OBJECT IDENTIFIER in dotted form. */
export function objectIdText(content: Buffer): string {
  const parts: number[] = [];
  let value = 0;
  for (const byte of content) {
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      parts.push(value);
      value = 0;
    }
  }
  const [first = 0, ...rest] = parts;
  const root = Math.min(2, Math.floor(first / 40));
  return [root, first - root * 40, ...rest].join('.');
}

/** Milliseconds since 1970 of a UTCTime or GeneralizedTime in the form of RFC 5280, 4.1.2.5: seconds, and Z. */
export function timeMs({ tag, content }: DerElement): number {
  const text = content.toString('latin1');
  const match = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  const short = tag === TAG.utcTime;
  if (!match || (!short && tag !== TAG.generalizedTime) || (match[1]?.length === 2) !== short) {
    throw new RangeError(`DER: not a time of RFC 5280: ${text.slice(0, 20)}`);
  }
  const [, year = '', month, day, hour, minute, second] = match;
  const fullYear = short ? `${Number(year) < 50 ? 20 : 19}${year}` : year;
  const ms = new Date(`${fullYear}-${month}-${day}T${hour}:${minute}:${second}Z`).getTime();
  if (Number.isNaN(ms)) throw new RangeError(`DER: there is no such time: ${text}`);
  return ms;
}
