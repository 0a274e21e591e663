import { asBuffer } from '#common/crypto/bytes.ts';
import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { KeyStream } from '../streams/key-stream.ts';

/** How long an application may take to ask why, and an offer to come late. */
const KEEP_MS = 600_000;

/** Ended streams of one peer that are remembered; the oldest go first. */
const MAX_OF_PEER = 2_048;

interface Ended {
  /** In hex: a slice of a buffer would keep all of that. */
  readonly incarnation: string;
  /** What an application that still asks is told; undefined where it knows, since it closed the stream itself. */
  readonly why: KeyweaveError | undefined;
  readonly untilMs: number;
}

/**
 * Streams that have ended here a while ago: an application that did not see it
 * learns why, and an offer that comes late is not taken for a new one.
 */
export class EndedStreams {
  readonly #now: () => number;
  /** By peer and KSID, in the order of their ends. */
  readonly #byPeer = new Map<string, Map<string, Ended>>();

  constructor(now: () => number) {
    this.#now = now;
  }

  note(stream: KeyStream, why?: KeyweaveError): void {
    const ended = this.#byPeer.get(stream.peerNode) ?? new Map<string, Ended>();
    this.#byPeer.set(stream.peerNode, ended);
    ended.delete(stream.id);
    const incarnation = stream.incarnation.toString('hex');
    ended.set(stream.id, { incarnation, why, untilMs: this.#now() + KEEP_MS });
    for (const [ksid, { untilMs }] of ended) {
      if (ended.size <= MAX_OF_PEER && untilMs > this.#now()) break;
      ended.delete(ksid);
    }
  }

  /** Whether this incarnation of a peer's stream has ended here. */
  has(peerNode: string, ksid: string, incarnation: Uint8Array): boolean {
    return this.#of(peerNode, ksid)?.incarnation === asBuffer(incarnation).toString('hex');
  }

  /** Why the stream ended, for the application that still asks for its keys. */
  whyOf(ksid: string): KeyweaveError | undefined {
    for (const peerNode of this.#byPeer.keys()) {
      const ended = this.#of(peerNode, ksid);
      if (ended) return ended.why;
    }
    return undefined;
  }

  #of(peerNode: string, ksid: string): Ended | undefined {
    const ended = this.#byPeer.get(peerNode)?.get(ksid);
    return ended !== undefined && ended.untilMs > this.#now() ? ended : undefined;
  }
}
