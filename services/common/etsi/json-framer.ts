import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Deepest nesting that a request may have; real ones have three levels. */
const MAX_DEPTH = 64;

/** First size of the buffer for a text that comes in several segments. */
const FIRST_HOLD_BYTES = 1024;

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
 * bytes alone, looks at each once, and holds at most `maxBytes`.
 *
 * What is neither an object nor an array is garbage up to the next line, brace
 * or end of segment, and gives one not-json. A text that nests too deeply is
 * read to its end and gives one not-json too, so that what follows it is still
 * answered.
 */
export class JsonFramer {
  readonly #maxBytes: number;
  /** The beginning of a text whose end has not come, in a buffer that doubles. */
  #held: Buffer | undefined;
  /** Bytes of the unfinished text so far, held or not. */
  #pending = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #tooDeep = false;
  #dead = false;
  #end = 0;

  /** @param options.maxBytes largest text; a longer one is too-large before more of it is held. */
  constructor(options: { maxBytes: number }) {
    this.#maxBytes = options.maxBytes;
  }

  /** Bytes of a text that has begun and not ended. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * Takes a segment; gives the texts that it completes, in order. A text that
   * lies in one segment is a view of it, any other a buffer of its own; either
   * way the caller wipes it where it holds keys.
   */
  push(segment: Buffer): JsonFrame[] {
    const frames: JsonFrame[] = [];
    for (let frame = this.next(segment, 0); frame; frame = this.next(segment, this.#end)) frames.push(frame);
    return frames;
  }

  /**
   * The first text that ends in `segment` at or after `from`, for callers who
   * take one at a time; `end` then says where to go on. Undefined when the
   * segment completes no more: all of it is used up.
   */
  next(segment: Buffer, from: number): JsonFrame | undefined {
    let at = from;
    if (this.#depth === 0 && !this.#dead) {
      at = skipSpace(segment, at);
      if (at < segment.length && !opens(segment[at] as number)) {
        this.#end = skipGarbage(segment, at);
        return { error: 'not-json' };
      }
    }
    if (at === segment.length || this.#dead) {
      this.#end = segment.length;
      return undefined;
    }
    this.#end = this.#scan(segment, at);
    const part = segment.subarray(at, this.#end);
    if (this.#pending + part.length > this.#maxBytes) return this.#die();
    if (this.#depth === 0) return this.#complete(part);
    this.#hold(part);
    return undefined;
  }

  /** Where the text ends that `next` gave (exclusive), in the segment that it was asked for. */
  get end(): number {
    return this.#end;
  }

  /** Wipes what is held; gives nothing more. */
  stop(): void {
    this.#forget();
    this.#dead = true;
  }

  /** Where the text that is under way ends (exclusive), or the end of the segment, with a depth above 0. */
  #scan(segment: Buffer, from: number): number {
    // Locals: private members cost several times as much at each byte.
    let depth = this.#depth;
    let inString = this.#inString;
    let escaped = this.#escaped;
    let at = from;
    while (at < segment.length) {
      const byte = segment[at++] as number;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inString = false;
      } else if (byte === QUOTE) inString = true;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        depth += 1;
        if (depth > MAX_DEPTH) this.#tooDeep = true;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        depth -= 1;
        if (depth === 0) break;
      }
    }
    this.#depth = depth;
    this.#inString = inString;
    this.#escaped = escaped;
    return at;
  }

  #complete(tail: Buffer): JsonFrame {
    if (this.#tooDeep) {
      this.#forget();
      return { error: 'not-json' };
    }
    if (this.#pending === 0) return tail;
    this.#hold(tail);
    const text = (this.#held as Buffer).subarray(0, this.#pending);
    this.#held = undefined;
    this.#pending = 0;
    return text;
  }

  /** Copies: the segment is the caller's, and may be a small view of a large block. */
  #hold(part: Buffer): void {
    const size = this.#pending + part.length;
    if (this.#tooDeep) {
      this.#held?.fill(0);
      this.#held = undefined;
    } else {
      if (!this.#held || this.#held.length < size) this.#grow(size);
      part.copy(this.#held as Buffer, this.#pending);
    }
    this.#pending = size;
  }

  /** Doubling keeps the copying linear even when a text comes byte by byte. */
  #grow(size: number): void {
    const room = Math.min(this.#maxBytes, Math.max(size, FIRST_HOLD_BYTES, 2 * (this.#held?.length ?? 0)));
    const larger = Buffer.allocUnsafeSlow(room);
    this.#held?.copy(larger, 0, 0, this.#pending);
    this.#held?.fill(0);
    this.#held = larger;
  }

  #forget(): void {
    this.#held?.fill(0);
    this.#held = undefined;
    this.#pending = 0;
    this.#tooDeep = false;
  }

  #die(): JsonFrame {
    this.stop();
    return { error: 'too-large' };
  }
}

function opens(byte: number): boolean {
  return byte === OPEN_BRACE || byte === OPEN_BRACKET;
}

function skipSpace(segment: Buffer, from: number): number {
  let at = from;
  for (; at < segment.length; at++) {
    const byte = segment[at] as number;
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d && byte !== NEWLINE) break;
  }
  return at;
}

/** Past the next line, or to where a text begins. */
function skipGarbage(segment: Buffer, from: number): number {
  let at = from;
  while (at < segment.length && !opens(segment[at] as number)) {
    if (segment[at++] === NEWLINE) break;
  }
  return at;
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** Parses one framed text. @throws KeyweaveError BAD_REQUEST with the reference's message. */
export function decodeJson(text: Buffer): unknown {
  try {
    return JSON.parse(UTF8.decode(text));
  } catch {
    // No cause: the parser's message quotes the text, and the text may hold a key.
    throw new KeyweaveError('BAD_REQUEST', 'Invalid JSON received');
  }
}
