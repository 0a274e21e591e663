import { equalBytes, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import type { BatchConfirmation, BatchDecision, BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import { type Degraded, isLeftOut, kindOfMask, mayBe } from '../../streams/policy/lacking.ts';
import { isQkd, replaceableSlot, standInSlot } from '../../streams/stream-terms.ts';
import { degradedOf, qkdSlotsOf, standInOf } from '../batch.ts';
import { noRoom } from '../no-room.ts';

/** A batch whose initiator never confirms is dropped after this. */
const HELD_LIMIT_MS = 120_000;

/** Unconfirmed batches of one stream; the initiator has no use for more, so the oldest goes. */
const MAX_HELD = 4;

interface HeldBatch {
  readonly first: number;
  readonly count: number;
  readonly keys: Buffer;
  readonly initiatorTags: Buffer;
  readonly degraded: Degraded;
  readonly sinceMs: number;
  readonly timer: Timer;
}

/** Derived keys of a batch, on their way to being held back. */
export interface HeldKeys {
  readonly count: number;
  readonly keys: Buffer;
  readonly initiatorTags: Buffer;
}

/**
 * The responder's batches of one stream: made, and held back until the
 * initiator confirms them. It alone decides whether a batch is released: once,
 * when the initiator's tags prove that both ends hold the same keys; asked
 * again it gives the same answer.
 */
export class HeldBatches {
  readonly #stream: KeyStream;
  readonly #clock: Pick<Clock, 'after' | 'monotonicMs'>;
  /** In the order of their indexes. */
  readonly #held = new Map<number, HeldBatch>();
  /** The batch that is being made. */
  #making: BatchOffer | undefined;
  #stopped = false;

  constructor(stream: KeyStream, clock: Pick<Clock, 'after' | 'monotonicMs'>) {
    this.#stream = stream;
    this.#clock = clock;
  }

  /** Chunks that are being made or wait for their confirmation. */
  get coming(): number {
    let count = this.#making?.count ?? 0;
    for (const held of this.#held.values()) count += held.count;
    return count;
  }

  /** How long the oldest batch has waited for its confirmation, milliseconds; 0 where none waits. */
  get oldestMs(): number {
    for (const { sinceMs } of this.#held.values()) return this.#clock.monotonicMs() - sinceMs;
    return 0;
  }

  /**
   * Begins a batch: checks everything that the peer sent and gives the number
   * of chunks that there is room for. `hold` or `fail` must follow.
   *
   * @param most chunks that this end makes of it, whatever the peer offers.
   * @throws KeyweaveError UNKNOWN_STREAM, AGREEMENT_FAILED, BAD_REQUEST, NO_ROOM.
   */
  admit(offer: BatchOffer, most: number = MESSAGE_LIMITS.chunks.taken): number {
    const stream = this.#stream;
    const { firstIndex, count } = offer;
    if (this.#stopped) throw new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream');
    if (this.#making) {
      throw new KeyweaveError('AGREEMENT_FAILED', 'another batch of this stream is being made');
    }
    stream.indexes.assertUnused(firstIndex);
    if (count < 1 || count > MESSAGE_LIMITS.chunks.taken || firstIndex + count > 0xffffffff) {
      throw new KeyweaveError('BAD_REQUEST', `count must be 1 to 1024, not ${count}`);
    }
    this.#assertSlots(offer);
    const room = stream.maxBufferedChunks + stream.buffer.waiting - stream.buffer.size - this.coming;
    if (room < 1) throw noRoom(stream);
    stream.assertPeerRoom();
    const admitted = Math.min(count, room, most, stream.peerRoom);
    stream.indexes.claim(firstIndex, count);
    this.#making = offer;
    stream.countHeld();
    return admitted;
  }

  /**
   * Holds the derived keys back until they are confirmed. Takes ownership of them.
   *
   * @throws KeyweaveError UNKNOWN_STREAM after the end; `fail` must follow.
   */
  hold(offer: BatchOffer, { count, keys, initiatorTags }: HeldKeys): void {
    if (this.#stopped) {
      wipe(keys);
      throw new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream');
    }
    this.#making = undefined;
    this.#stream.indexes.shorten(offer.firstIndex, count);
    const held: HeldBatch = {
      first: offer.firstIndex,
      count,
      keys,
      initiatorTags,
      degraded: degradedOf({ standIn: standInOf(offer.degradedSlot), leftOut: this.#leftOut(offer) }),
      sinceMs: this.#clock.monotonicMs(),
      timer: this.#clock.after(HELD_LIMIT_MS, () => this.#decide(held, false), true),
    };
    this.#held.set(held.first, held);
    this.#stream.countHeld();
    if (this.#held.size > MAX_HELD) {
      for (const oldest of this.#held.values()) {
        this.#decide(oldest, false);
        break;
      }
    }
  }

  /** The batch that was admitted could not be made: its indexes are burned. */
  fail(error: KeyweaveError): void {
    const making = this.#making;
    this.#making = undefined;
    this.#stream.countHeld();
    if (making) this.#stream.drop(making.firstIndex, making.count, error);
    // Those who counted on it would wait for nothing.
    this.#stream.refill();
  }

  /** Releases or drops the batch; idempotent. An unknown batch was dropped. */
  confirm({ firstIndex, count, initiatorTags }: BatchConfirmation): BatchDecision {
    const held = this.#held.get(firstIndex);
    if (held) {
      // What the policies let be may have become less since it was offered.
      const isRight = held.count === count && mayBe(held.degraded, this.#stream.leeway);
      this.#decide(held, isRight && equalBytes(held.initiatorTags, initiatorTags));
    }
    return {
      released: this.#stream.indexes.wasReleased(firstIndex),
      buffered: this.#stream.buffer.size,
      failure: undefined,
    };
  }

  /** Nothing more will be confirmed: drops what is unconfirmed; safe to repeat. */
  stop(): void {
    this.#stopped = true;
    for (const held of [...this.#held.values()]) this.#decide(held, false);
  }

  #assertSlots(offer: BatchOffer): void {
    const { degradedSlot, publicKeys, qkd, count } = offer;
    const { slots } = this.#stream.terms;
    const standIn = standInOf(degradedSlot);
    this.#assertMayStandIn(standIn);
    this.#assertMayLack(offer, standIn);
    const leftOut = this.#leftOut(offer);
    const expected = slots.flatMap((slot, i) =>
      isQkd(slot) || i === standIn || isLeftOut(slot, leftOut) ? [] : [i],
    );
    const complete =
      publicKeys.length === expected.length &&
      publicKeys.every(
        (entry, i) =>
          entry.slot === expected[i] &&
          entry.publicKeys.length === count * (slots[entry.slot]?.publicKeyBytes ?? -1),
      );
    const usesQkd = qkdSlotsOf({ stream: this.#stream, standIn, leftOut }) > 0;
    if (!complete || usesQkd !== (qkd !== undefined)) {
      throw new KeyweaveError('BAD_REQUEST', 'the batch does not carry exactly the agreed slots');
    }
  }

  /** The peer does not decide what a shared_seed stands in for: the rule does, and this node's own policy. */
  #assertMayStandIn(standIn: number | undefined): void {
    const { terms, leeway } = this.#stream;
    const always = standInSlot(terms);
    if (always !== undefined && standIn !== always) {
      throw new KeyweaveError('AGREEMENT_FAILED', 'the batch leaves out the stand-in of this stream');
    }
    if (standIn === undefined) return;
    if (!leeway.standIn) {
      throw new KeyweaveError(
        'AGREEMENT_FAILED',
        'the policy of this stream lets nothing stand in for a source',
      );
    }
    if (standIn !== always && standIn !== replaceableSlot(terms)) {
      throw new KeyweaveError(
        'AGREEMENT_FAILED',
        'a shared_seed stands in only for the QKD slot of a list of QKD and one KEM',
      );
    }
  }

  /** Nor what is left out: what both nodes have agreed on does, all slots of a kind and no others. */
  #assertMayLack({ leftOut: mask = 0 }: BatchOffer, standIn: number | undefined): void {
    if (mask === 0) return;
    const { terms, leeway } = this.#stream;
    const kind = kindOfMask(terms, mask);
    if (kind !== undefined && leeway.mayLack[kind] && standIn === undefined) return;
    throw new KeyweaveError(
      'AGREEMENT_FAILED',
      'the batch leaves out sources that the policy of this stream wants in it (policy.sources)',
    );
  }

  #leftOut({ leftOut = 0 }: BatchOffer) {
    return kindOfMask(this.#stream.terms, leftOut);
  }

  #decide(held: HeldBatch, released: boolean): void {
    if (this.#held.get(held.first) !== held) return;
    // Chunks are read in the order of their indexes: what is older can no longer be wanted.
    if (released) {
      for (const older of [...this.#held.values()]) {
        if (older.first < held.first) this.#decide(older, false);
      }
    }
    this.#held.delete(held.first);
    held.timer.cancel();
    if (released) this.#stream.release(held.first, held.keys, held.degraded);
    else {
      wipe(held.keys);
      this.#stream.drop(held.first, held.count, unconfirmed());
    }
    this.#stream.refill();
  }
}

function unconfirmed(): KeyweaveError {
  return new KeyweaveError('AGREEMENT_FAILED', 'the other end has not confirmed that it holds the same keys');
}
