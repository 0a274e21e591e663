import { asBuffer } from '#common/crypto/bytes.ts';
import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Clock } from '#common/time/clock.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { Owner } from '../streams/owner.ts';

/** How long an application may take to ask why, and an offer to come late. */
const KEEP_MS = 600_000;

/** Ended streams of one peer that are remembered; the oldest go first. */
const MAX_OF_PEER = 2_048;

/** What of a stream is remembered. */
export type EndedStream = Pick<KeyStream, 'id' | 'incarnation' | 'route' | 'owner'>;

interface Ended {
  /** In hex: a slice of a buffer would keep all of that. */
  readonly incarnation: string;
  readonly owner: Owner | undefined;
  /** What an application that still asks is told; undefined where it knows, since it closed the stream itself. */
  readonly why: KeyweaveError | undefined;
  readonly untilMs: number;
}

/**
 * Streams that have ended here a while ago: an application that did not see it
 * learns why, and an offer that comes late is not taken for a new one.
 */
export class EndedStreams {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  /** By the node at the other end and KSID, in the order of their ends. */
  readonly #byPeer = new Map<string, Map<string, Ended>>();

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  note({ id, incarnation, route, owner }: EndedStream, why?: KeyweaveError): void {
    const now = this.#clock.monotonicMs();
    const ended = this.#byPeer.get(route.farNode) ?? new Map<string, Ended>();
    this.#byPeer.set(route.farNode, ended);
    ended.delete(id);
    ended.set(id, { incarnation: incarnation.toString('hex'), owner, why, untilMs: now + KEEP_MS });
    for (const [ksid, { untilMs }] of ended) {
      if (ended.size <= MAX_OF_PEER && untilMs > now) break;
      ended.delete(ksid);
    }
  }

  /** Whether this incarnation of a stream with `farNode` has ended here. */
  has(farNode: string, ksid: string, incarnation: Uint8Array): boolean {
    return this.#of(farNode, ksid)?.incarnation === asBuffer(incarnation).toString('hex');
  }

  /**
   * Why the stream ended, for the application that still asks for its keys.
   *
   * @param isTheirs whether a stream of this owner is that application's.
   */
  whyOf(ksid: string, isTheirs: (owner: Owner | undefined) => boolean): KeyweaveError | undefined {
    for (const farNode of this.#byPeer.keys()) {
      const ended = this.#of(farNode, ksid);
      if (ended && isTheirs(ended.owner)) return ended.why;
    }
    return undefined;
  }

  #of(farNode: string, ksid: string): Ended | undefined {
    const ended = this.#byPeer.get(farNode)?.get(ksid);
    return ended !== undefined && ended.untilMs > this.#clock.monotonicMs() ? ended : undefined;
  }
}
