import { randomBytes, randomUUID } from 'node:crypto';
import type { KeySupply } from './key-supply.ts';

const MAX_STREAMS = 100_000;

export interface LinkOptions {
  /** The key that the link makes, for all streams. */
  supply: Pick<KeySupply, 'spend'>;
  /** Bytes of key that one end may be ahead of the other, over all streams; more is refused as dry. */
  maxHeldBytes: number;
}

interface Side {
  readonly end: number;
  /** Ordinal of the next key for this side. */
  next: number;
}

interface Stream {
  readonly ksid: string;
  readonly source: string;
  readonly destination: string;
  readonly chunkBytes: number;
  readonly sides: Side[];
  /** Keys that one side has fetched and the other has not, by ordinal. */
  readonly keys: Map<number, Buffer>;
  readonly whenJoined: PromiseWithResolvers<void>;
  /** One side has closed: nothing new is made. */
  ending: boolean;
}

export type OpenResult =
  | { status: 0; ksid: string; chunkBytes: number; joined: Promise<void> }
  | { status: 5; ksid?: undefined };

/**
 * The quantum link that is not there: gives the two ends of a stream equal
 * random keys in the same order, at a limited rate. Two ends meet by KSID, or
 * by identical URIs in order of arrival.
 */
export class SimulatedLink {
  readonly #options: LinkOptions;
  readonly #streams = new Map<string, Stream>();
  /** Streams with one side, by their URIs, in order of arrival. */
  readonly #halves = new Map<string, Set<Stream>>();
  #heldBytes = 0;
  #made = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** Open streams. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Who has open streams: source, destination and the ends that have not closed, for those who look for what was left. */
  get openStreams(): string[] {
    return [...this.#streams.values()].map(
      ({ source, destination, sides }) => `${source} ${destination} ends ${sides.map(({ end }) => end)}`,
    );
  }

  /** Keys made so far. */
  get made(): number {
    return this.#made;
  }

  /** Bytes of key that one side has fetched and the other has not. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Opens or joins a stream for `end`; `ksid` names it where the caller knows it. Status 5: taken. */
  open(end: number, source: string, destination: string, chunkBytes: number, ksid?: string): OpenResult {
    const known = ksid === undefined ? this.#half(end, source, destination) : this.#streams.get(ksid);
    if (known) return this.#join(known, end, source, destination);
    if (this.#streams.size >= MAX_STREAMS) this.#forgetOldest();
    const stream: Stream = {
      ksid: ksid ?? randomUUID(),
      source,
      destination,
      chunkBytes,
      sides: [{ end, next: 0 }],
      keys: new Map(),
      whenJoined: Promise.withResolvers(),
      ending: false,
    };
    this.#streams.set(stream.ksid, stream);
    this.#halvesOf(stream).add(stream);
    return opened(stream);
  }

  /**
   * A key of this end's side, the caller's own; undefined when the link has run
   * dry or the key is gone, null for an unknown stream.
   *
   * @param index which key, the next one by default; those before it are gone for this side.
   */
  take(end: number, ksid: string, index?: number): Buffer | undefined | null {
    const stream = this.#streams.get(ksid);
    const side = stream?.sides.find((one) => one.end === end);
    if (!stream || !side) return null;
    const ordinal = index ?? side.next;
    if (ordinal < side.next) return undefined;
    const waiting = stream.keys.get(ordinal);
    if (waiting) {
      this.#skipTo(stream, side, ordinal);
      stream.keys.delete(ordinal);
      side.next = ordinal + 1;
      this.#heldBytes -= waiting.length;
      return waiting;
    }
    const held = this.#heldBytes + stream.chunkBytes;
    if (
      stream.ending ||
      held > this.#options.maxHeldBytes ||
      !this.#options.supply.spend(stream.chunkBytes)
    ) {
      return undefined;
    }
    this.#skipTo(stream, side, ordinal);
    side.next = ordinal + 1;
    this.#made += 1;
    const key = randomBytes(stream.chunkBytes);
    const other = stream.sides.find((one) => one !== side);
    // The other side has skipped it: nobody else will ask.
    if (other && other.next > ordinal) return key;
    stream.keys.set(ordinal, key);
    this.#heldBytes += key.length;
    return Buffer.from(key);
  }

  /** Ends this end's side; the other may fetch what has been made, and the stream goes with its last side. */
  close(end: number, ksid: string): boolean {
    const stream = this.#streams.get(ksid);
    const at = stream?.sides.findIndex((side) => side.end === end) ?? -1;
    if (!stream || at < 0) return false;
    const [left] = stream.sides.splice(at, 1);
    stream.ending = true;
    this.#noLongerHalf(stream);
    const other = stream.sides[0];
    if (!other) this.#drop(stream);
    else if (left && left.next <= other.next) this.#forgetKeys(stream);
    return true;
  }

  /** The keys before `ordinal` that wait for this side are wanted no more. */
  #skipTo(stream: Stream, side: Side, ordinal: number): void {
    if (ordinal === side.next) return;
    for (const [waiting, key] of stream.keys) {
      if (waiting < side.next || waiting >= ordinal) continue;
      stream.keys.delete(waiting);
      this.#heldBytes -= key.length;
    }
  }

  #half(end: number, source: string, destination: string): Stream | undefined {
    for (const stream of this.#halves.get(pairOf({ source, destination })) ?? []) {
      if (stream.sides[0]?.end !== end) return stream;
    }
    return undefined;
  }

  #halvesOf(stream: Stream): Set<Stream> {
    const pair = pairOf(stream);
    const halves = this.#halves.get(pair) ?? new Set();
    this.#halves.set(pair, halves);
    return halves;
  }

  #drop(stream: Stream): void {
    this.#streams.delete(stream.ksid);
    this.#forgetKeys(stream);
    this.#noLongerHalf(stream);
  }

  #forgetKeys(stream: Stream): void {
    this.#heldBytes -= stream.keys.size * stream.chunkBytes;
    stream.keys.clear();
  }

  #noLongerHalf(stream: Stream): void {
    const halves = this.#halvesOf(stream);
    halves.delete(stream);
    if (halves.size === 0) this.#halves.delete(pairOf(stream));
  }

  #join(stream: Stream, end: number, source: string, destination: string): OpenResult {
    const taken = stream.ending || stream.sides.length >= 2 || stream.sides[0]?.end === end;
    if (taken || stream.source !== source || stream.destination !== destination) return { status: 5 };
    stream.sides.push({ end, next: 0 });
    this.#noLongerHalf(stream);
    stream.whenJoined.resolve();
    return opened(stream);
  }

  #forgetOldest(): void {
    const { value: oldest } = this.#streams.values().next();
    if (oldest) this.#drop(oldest);
  }
}

function pairOf({ source, destination }: { source: string; destination: string }): string {
  return JSON.stringify([source, destination]);
}

function opened(stream: Stream): OpenResult {
  return { status: 0, ksid: stream.ksid, chunkBytes: stream.chunkBytes, joined: stream.whenJoined.promise };
}
