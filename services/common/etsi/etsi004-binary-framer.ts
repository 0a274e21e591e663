import { ETSI004_MESSAGE, HEADER_BYTES, MAX_OPEN_BYTES, MIN_OPEN_BYTES } from './etsi004-binary-codec.ts';

/** A whole message, or why there is none of it. After too-large the framer gives nothing more. */
export type BinaryFrame =
  | { readonly type: number; readonly payload: Buffer }
  | { readonly type: number; readonly error: 'unknown-type' | 'wrong-length'; readonly bytes: number }
  | { readonly type: number; readonly error: 'too-large'; readonly bytes: number };

/** Lengths that the payload of each request may have, bytes: least and most. */
const REQUEST_LENGTHS: ReadonlyMap<number, readonly [number, number]> = new Map([
  [ETSI004_MESSAGE.OPEN_CONNECT_REQUEST, [MIN_OPEN_BYTES, MAX_OPEN_BYTES]],
  [ETSI004_MESSAGE.GET_KEY_REQUEST, [24, 24]],
  [ETSI004_MESSAGE.CLOSE_REQUEST, [16, 16]],
]);

const TYPE_AT = 3;
const LENGTH_AT = 4;

/**
 * Cuts a byte stream into requests of the binary protocol, or into answers,
 * whatever the segments. Nothing is held but the header and the payload of a
 * message whose length can be right, 8.5 KB of a request at most: all others
 * are counted off as they come. The version in the header is not looked at, as the reference does not.
 */
export class BinaryFramer {
  readonly #maxBytes: number;
  readonly #lengths: ReadonlyMap<number, readonly [number, number]>;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  /** Payload bytes that have come. */
  #payloadBytes = 0;
  /** The payload as far as it has come; undefined where nothing of it is held. */
  #held: Buffer | undefined;
  /** What was given last, if it was held here. */
  #given: Buffer | undefined;
  #dead = false;
  #end = 0;

  /**
   * @param options.maxBytes longest payload that is read to its end; a longer one is too-large.
   * @param options.lengths of payloads, least and most bytes, by the types that are known; by default those of requests.
   */
  constructor(options: { maxBytes: number; lengths?: ReadonlyMap<number, readonly [number, number]> }) {
    this.#maxBytes = options.maxBytes;
    this.#lengths = options.lengths ?? REQUEST_LENGTHS;
  }

  /** Bytes of a message that has begun and not ended. */
  get pending(): number {
    return this.#headerBytes + this.#payloadBytes;
  }

  /** Where the message ends that `next` gave (exclusive), in the segment that it was asked for. */
  get end(): number {
    return this.#end;
  }

  /**
   * The first message that ends in `segment` at or after `from`; undefined
   * when it completes no more: all of it is used up. Its payload is lent until
   * the next call.
   */
  next(segment: Buffer, from: number): BinaryFrame | undefined {
    this.#wipeGiven();
    if (this.#dead) {
      this.#end = segment.length;
      return undefined;
    }
    let at = from;
    if (this.#headerBytes < HEADER_BYTES) {
      const copied = segment.copy(this.#header, this.#headerBytes, at, at + HEADER_BYTES - this.#headerBytes);
      this.#headerBytes += copied;
      at += copied;
      this.#end = at;
      if (this.#headerBytes < HEADER_BYTES) return undefined;
    }
    const type = this.#header.readInt8(TYPE_AT);
    const length = this.#header.readUInt32BE(LENGTH_AT);
    if (length > this.#maxBytes) {
      this.stop();
      return { type, error: 'too-large', bytes: length };
    }
    const part = segment.subarray(at, at + length - this.#payloadBytes);
    this.#end = at + part.length;
    const isWhole = this.#payloadBytes + part.length === length;
    const error = this.#errorOf(type, length);
    if (error !== undefined) {
      this.#payloadBytes += part.length;
      if (!isWhole) return undefined;
      this.#begin();
      return { type, error, bytes: length };
    }
    if (isWhole && this.#payloadBytes === 0) {
      this.#begin();
      return { type, payload: part };
    }
    this.#hold(part, length);
    if (!isWhole) return undefined;
    const payload = this.#held as Buffer;
    this.#given = payload;
    this.#held = undefined;
    this.#begin();
    return { type, payload };
  }

  /** Wipes what is held; gives nothing more. */
  stop(): void {
    this.#wipeGiven();
    this.#held?.fill(0);
    this.#held = undefined;
    this.#begin();
    this.#dead = true;
  }

  #begin(): void {
    this.#headerBytes = 0;
    this.#payloadBytes = 0;
  }

  #hold(part: Buffer, length: number): void {
    if (part.length === 0) return;
    this.#held ??= Buffer.allocUnsafeSlow(length);
    this.#payloadBytes += part.copy(this.#held, this.#payloadBytes);
  }

  /** On a plain port the id of a stream is all that it takes to get its keys. */
  #wipeGiven(): void {
    this.#given?.fill(0);
    this.#given = undefined;
  }

  #errorOf(type: number, length: number): 'unknown-type' | 'wrong-length' | undefined {
    const range = this.#lengths.get(type);
    if (!range) return 'unknown-type';
    const [least, most] = range;
    return length < least || length > most ? 'wrong-length' : undefined;
  }
}
