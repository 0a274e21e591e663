import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Deepest nesting that a request may have; real ones have three levels. */
const MAX_DEPTH = 64;

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NEWLINE = 0x0a;

/** A whole JSON text, or why there is none. After too-large the framer gives nothing more. */
export type JsonFrame = Buffer | { readonly error: 'too-large' | 'not-json' };

/**
 * Cuts a byte stream into JSON texts that follow each other without any
 * terminator, whatever the segments: split, merged, or byte by byte. Works on
 * bytes alone, looks at each once, and holds at most `maxBytes`. What is
 * neither an object nor an array is garbage up to the next line, brace or end
 * of segment, and gives one not-json.
 */
export class JsonFramer {
  readonly #maxBytes: number;
  readonly #held: Buffer[] = [];
  #heldBytes = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #dead = false;

  constructor(options: { maxBytes: number }) {
    this.#maxBytes = options.maxBytes;
  }

  /** Bytes of a text that has begun and not ended. */
  get pending(): number {
    return this.#heldBytes;
  }

  /** Takes a segment; gives the texts that it completes. Whole texts are views of `segment`. */
  push(segment: Buffer): JsonFrame[] {
    const frames: JsonFrame[] = [];
    let start = 0;
    let at = 0;
    while (at < segment.length && !this.#dead) {
      if (this.#depth === 0) {
        at = this.#seek(segment, at, frames);
        start = at;
        if (at >= segment.length) break;
      }
      const end = this.#scan(segment, at);
      const size = this.#heldBytes + (end < 0 ? segment.length : end) - start;
      if (size > this.#maxBytes) this.#die(frames);
      else if (end === TOO_DEEP) this.#die(frames, 'not-json');
      else if (end < 0) at = segment.length;
      else {
        frames.push(this.#complete(segment.subarray(start, end)));
        at = end;
        start = end;
      }
    }
    if (this.#depth > 0 && !this.#dead) this.#hold(segment.subarray(start));
    return frames;
  }

  /** Skips white space and garbage to where a text begins. */
  #seek(segment: Buffer, from: number, frames: JsonFrame[]): number {
    let garbage = false;
    let at = from;
    for (; at < segment.length; at++) {
      const byte = segment[at] as number;
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) break;
      if (byte === NEWLINE && garbage) {
        frames.push({ error: 'not-json' });
        garbage = false;
      } else if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d && byte !== NEWLINE) garbage = true;
    }
    if (garbage) frames.push({ error: 'not-json' });
    return at;
  }

  /** Where the text that is under way ends (exclusive), -1 when it does not, TOO_DEEP when it nests too far. */
  #scan(segment: Buffer, from: number): number {
    for (let at = from; at < segment.length; at++) {
      const byte = segment[at] as number;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#inString = false;
      } else if (byte === QUOTE) this.#inString = true;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        this.#depth += 1;
        if (this.#depth > MAX_DEPTH) return TOO_DEEP;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        this.#depth -= 1;
        if (this.#depth === 0) return at + 1;
      }
    }
    return -1;
  }

  #complete(tail: Buffer): Buffer {
    if (this.#heldBytes === 0) return tail;
    const text = Buffer.concat([...this.#held, tail], this.#heldBytes + tail.length);
    this.#held.length = 0;
    this.#heldBytes = 0;
    return text;
  }

  /** Copies: a segment may be a small view of a large block. */
  #hold(part: Buffer): void {
    if (part.length === 0) return;
    this.#held.push(Buffer.from(part));
    this.#heldBytes += part.length;
    // Byte by byte must not mean an object for each byte.
    if (this.#held.length > 64) {
      const joined = Buffer.concat(this.#held, this.#heldBytes);
      this.#held.length = 0;
      this.#held.push(joined);
    }
  }

  #die(frames: JsonFrame[], error: 'too-large' | 'not-json' = 'too-large'): void {
    frames.push({ error });
    this.#held.length = 0;
    this.#heldBytes = 0;
    this.#dead = true;
  }
}

const TOO_DEEP = -2;

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

/** Parses one framed text. @throws KeyweaveError BAD_REQUEST with the reference's message. */
export function decodeJson(text: Buffer): unknown {
  try {
    return JSON.parse(UTF8.decode(text));
  } catch (cause) {
    throw new KeyweaveError('BAD_REQUEST', 'Invalid JSON received', { cause });
  }
}
