import { equalBytes, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { BatchConfirmation, BatchDecision, BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { NodeServices } from '../../clients/node-services.ts';
import { QkdStream } from '../../clients/qkd-stream.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import { isQkd, QKD_SECRET_BYTES, replaceableSlot, standInSlot } from '../../streams/stream-terms.ts';
import { noRoom } from '../no-room.ts';

/** A batch whose initiator never confirms is dropped after this. */
const PENDING_LIMIT_MS = 120_000;

/** Unconfirmed batches of one stream; the initiator has no use for more, so the oldest goes. */
const MAX_PENDING = 4;

/** Decisions that are remembered, for an initiator that asks again. */
const MAX_DECIDED = 16;

interface PendingBatch {
  readonly first: number;
  readonly count: number;
  readonly keys: Buffer;
  readonly initiatorTags: Buffer;
  readonly degraded: boolean;
  readonly timer: NodeJS.Timeout;
}

/** Derived keys of a batch, on their way to being held back. */
export interface HeldKeys {
  readonly count: number;
  readonly keys: Buffer;
  readonly initiatorTags: Buffer;
}

/**
 * The responder's half of one stream's production. It alone decides whether a
 * batch is released: once, when the initiator's tags prove that both ends hold
 * the same keys; asked again it gives the same answer.
 */
export class HeldBatches {
  readonly stream: KeyStream;
  readonly qkd: QkdStream;
  /** In the order of their indexes. */
  readonly #pending = new Map<number, PendingBatch>();
  readonly #decided = new Map<number, boolean>();
  /** First index that no batch has used yet. */
  #highWater = 0;
  /** The batch that is being made. */
  #making: BatchOffer | undefined;
  #stopped = false;

  constructor(services: NodeServices, stream: KeyStream) {
    this.stream = stream;
    this.qkd = new QkdStream({
      services,
      keyStreamId: stream.idBytes,
      initiatorNode: stream.terms.sourceNode,
      responderNode: stream.terms.destinationNode,
      keyBytes: QKD_SECRET_BYTES,
    });
  }

  /** Chunks that are being made or wait for their confirmation. */
  get coming(): number {
    let count = this.#making?.count ?? 0;
    for (const pending of this.#pending.values()) count += pending.count;
    return count;
  }

  /**
   * Begins a batch: checks everything that the peer sent and gives the number
   * of chunks that there is room for. `hold` or `fail` must follow.
   *
   * @param most chunks that this end makes of it, whatever the peer offers.
   * @throws KeyweaveError UNKNOWN_STREAM, AGREEMENT_FAILED, BAD_REQUEST, NO_ROOM.
   */
  admit(offer: BatchOffer, most: number = MESSAGE_LIMITS.chunks.taken): number {
    const { stream } = this;
    const { firstIndex, count } = offer;
    if (this.#stopped) throw new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream');
    if (this.#making) {
      throw new KeyweaveError('AGREEMENT_FAILED', 'another batch of this stream is being made');
    }
    if (firstIndex < this.#highWater) {
      throw new KeyweaveError('AGREEMENT_FAILED', `index ${firstIndex} has been used before`);
    }
    if (count < 1 || count > MESSAGE_LIMITS.chunks.taken || firstIndex + count > 0xffffffff) {
      throw new KeyweaveError('BAD_REQUEST', `count must be 1 to 1024, not ${count}`);
    }
    this.#assertSlots(offer);
    const room = stream.maxBufferedChunks + stream.buffer.waiting - stream.buffer.size - this.coming;
    if (room < 1) throw noRoom(stream);
    stream.assertPeerRoom();
    const admitted = Math.min(count, room, most, stream.peerRoom);
    this.#highWater = firstIndex + count;
    this.#making = offer;
    stream.countHeld();
    return admitted;
  }

  /** Holds the derived keys back until they are confirmed. Takes ownership of them. */
  hold(offer: BatchOffer, { count, keys, initiatorTags }: HeldKeys): void {
    this.#making = undefined;
    if (this.#stopped) {
      wipe(keys);
      throw new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream');
    }
    this.#highWater = offer.firstIndex + count;
    const pending: PendingBatch = {
      first: offer.firstIndex,
      count,
      keys,
      initiatorTags,
      degraded: offer.degradedSlot !== 0,
      timer: setTimeout(() => this.#decide(pending, false), PENDING_LIMIT_MS).unref(),
    };
    this.#pending.set(pending.first, pending);
    this.stream.countHeld();
    if (this.#pending.size > MAX_PENDING) {
      for (const oldest of this.#pending.values()) {
        this.#decide(oldest, false);
        break;
      }
    }
  }

  /** The batch could not be made; its indexes are burned once those before it are decided. */
  fail(): void {
    this.#making = undefined;
    this.stream.countHeld();
    this.#burnDecided();
    // Those who counted on it would wait for nothing.
    this.stream.refill();
  }

  /** Releases or drops the batch; idempotent. An unknown batch was dropped. */
  confirm({ firstIndex, count, initiatorTags }: BatchConfirmation): BatchDecision {
    const pending = this.#pending.get(firstIndex);
    if (pending) {
      this.#decide(pending, pending.count === count && equalBytes(pending.initiatorTags, initiatorTags));
    }
    return {
      released: this.#decided.get(firstIndex) ?? false,
      buffered: this.stream.buffer.size,
      failure: undefined,
    };
  }

  /** Nothing more will be confirmed: drops what is unconfirmed. */
  abandon(): void {
    for (const pending of [...this.#pending.values()]) this.#decide(pending, false);
  }

  stop(): void {
    this.#stopped = true;
    this.abandon();
    this.qkd.end();
  }

  #assertSlots({ degradedSlot, publicKeys, qkd, count }: BatchOffer): void {
    const { slots } = this.stream.terms;
    this.#assertMayStandIn(degradedSlot);
    const expected = slots.flatMap((slot, i) => (isQkd(slot) || i === degradedSlot - 1 ? [] : [i]));
    const complete =
      publicKeys.length === expected.length &&
      publicKeys.every(
        (entry, i) =>
          entry.slot === expected[i] &&
          entry.publicKeys.length === count * (slots[entry.slot]?.publicKeyBytes ?? -1),
      );
    const usesQkd = slots.some((slot, i) => isQkd(slot) && i !== degradedSlot - 1);
    if (!complete || usesQkd !== (qkd !== undefined)) {
      throw new KeyweaveError('BAD_REQUEST', 'the batch does not carry exactly the agreed slots');
    }
  }

  /** The peer does not decide what a shared_seed stands in for: the rule does, and this node's own policy. */
  #assertMayStandIn(degradedSlot: number): void {
    const { terms, allowDegraded } = this.stream;
    const always = standInSlot(terms);
    if (always !== 0 && degradedSlot !== always) {
      throw new KeyweaveError('AGREEMENT_FAILED', 'the batch leaves out the stand-in of this stream');
    }
    if (degradedSlot === 0) return;
    if (!allowDegraded) {
      throw new KeyweaveError(
        'AGREEMENT_FAILED',
        'the policy of this stream lets nothing stand in for a source',
      );
    }
    if (degradedSlot !== always && degradedSlot !== replaceableSlot(terms)) {
      throw new KeyweaveError(
        'AGREEMENT_FAILED',
        'a shared_seed stands in only for the QKD slot of a list of QKD and one KEM',
      );
    }
  }

  #decide(pending: PendingBatch, released: boolean): void {
    if (this.#pending.get(pending.first) !== pending) return;
    // Chunks are read in the order of their indexes: what is older can no longer be wanted.
    if (released) {
      for (const older of [...this.#pending.values()]) {
        if (older.first < pending.first) this.#decide(older, false);
      }
    }
    this.#pending.delete(pending.first);
    clearTimeout(pending.timer);
    this.#remember(pending.first, released);
    if (released) this.stream.release(pending.first, pending.keys, pending.degraded);
    else wipe(pending.keys);
    this.#burnDecided();
    this.stream.refill();
  }

  /** Indexes below whatever is still open have been released or never will be. */
  #burnDecided(): void {
    let open = this.#making?.firstIndex ?? this.#highWater;
    for (const { first } of this.#pending.values()) open = Math.min(open, first);
    this.stream.buffer.burnBelow(open);
  }

  #remember(first: number, released: boolean): void {
    this.#decided.set(first, released);
    if (this.#decided.size <= MAX_DECIDED) return;
    for (const oldest of this.#decided.keys()) {
      this.#decided.delete(oldest);
      break;
    }
  }
}
