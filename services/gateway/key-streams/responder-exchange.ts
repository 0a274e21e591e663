import { equalBytes, wipe } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type {
  ConfirmRequest,
  ConfirmResponse,
  ProduceRequest,
  ProduceResponse,
} from '#gen/keyweave/v1/key_agreement.ts';
import { type NodeServices, STEP_TIMEOUT_MS } from '../sources/node-services.ts';
import { QkdLink } from '../sources/qkd-link.ts';
import { deriveBatch, type SlotContribution, standInSecrets } from './derivation.ts';
import type { KeyStream } from './key-stream.ts';
import { isQkd, QKD_SECRET_BYTES } from './stream-terms.ts';

/** A batch whose initiator never confirms is dropped after this. */
const PENDING_LIMIT_MS = 120_000;

/** An exchange that has not ended by then no longer counts as chunks on their way. */
const ON_ITS_WAY_MS = 1_000;

interface PendingBatch {
  readonly first: number;
  readonly count: number;
  readonly keys: Buffer;
  readonly initiatorTags: Buffer;
  readonly degraded: boolean;
  readonly timer: NodeJS.Timeout;
}

/**
 * The responder's half of production. It alone decides whether a batch is
 * released: once, when the initiator's tags prove that both ends hold the
 * same keys; asked again it gives the same answer.
 */
export class ResponderExchange {
  readonly #services: NodeServices;
  readonly #stream: KeyStream;
  readonly #qkd: QkdLink;
  #pending: PendingBatch | undefined;
  #decided: { first: number; released: boolean } | undefined;
  /** First index that no batch has used yet. */
  #highWater = 0;
  #busy: Promise<unknown> = Promise.resolve();
  #startedMs = Number.NEGATIVE_INFINITY;
  #stopped = false;

  constructor(services: NodeServices, stream: KeyStream) {
    this.#services = services;
    this.#stream = stream;
    this.#qkd = new QkdLink({
      services,
      keyStreamId: stream.idBytes,
      initiatorNode: stream.terms.sourceNode,
      responderNode: stream.terms.destinationNode,
      keyBytes: QKD_SECRET_BYTES,
    });
  }

  /** Whether chunks are on their way, so that nobody need ask for them. */
  get active(): boolean {
    return this.#services.now() - this.#startedMs < ON_ITS_WAY_MS;
  }

  /** Makes the batch and keeps it unreleased. One at a time: a repeat waits for what is under way. */
  produce(request: ProduceRequest): Promise<ProduceResponse> {
    this.#startedMs = this.#services.now();
    const turn = this.#busy.then(() => this.#produce(request));
    this.#busy = turn.catch(() => undefined);
    return turn;
  }

  /** Releases or drops the batch; idempotent. An unknown batch was dropped. */
  confirm(request: ConfirmRequest): ConfirmResponse {
    const { buffer } = this.#stream;
    const pending = this.#pending;
    if (pending && pending.first === request.firstIndex) {
      const agreed =
        pending.count === request.count && equalBytes(pending.initiatorTags, request.initiatorTags);
      this.#decide(pending, agreed);
    }
    const released = this.#decided?.first === request.firstIndex && this.#decided.released;
    return { released, buffered: buffer.size };
  }

  stop(): void {
    this.#stopped = true;
    if (this.#pending) this.#decide(this.#pending, false);
    this.#qkd.close();
  }

  async #produce(request: ProduceRequest): Promise<ProduceResponse> {
    if (this.#stopped) throw new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream');
    // The initiator has moved on: it can no longer want what was pending.
    if (this.#pending) this.#decide(this.#pending, false);
    const count = this.#admit(request);
    this.#highWater = request.firstIndex + request.count;
    const parts: (SlotContribution | undefined)[] = [];
    try {
      parts.push(...(await this.#encapsulateAll(request, count)));
      const { contributions, made } = await this.#withQkd(parts, request, count);
      return await this.#derive(request, contributions, made);
    } catch (error) {
      wipe(...parts.map((part) => part?.secrets));
      this.#stream.buffer.burnBelow(this.#highWater);
      this.#startedMs = Number.NEGATIVE_INFINITY;
      throw error;
    }
  }

  /** Checks everything that the peer sent; how many chunks there is room for. */
  #admit(request: ProduceRequest): number {
    const stream = this.#stream;
    const { slots } = stream.terms;
    const { firstIndex, count, degradedSlot } = request;
    if (firstIndex < this.#highWater) {
      throw new KeyweaveError('AGREEMENT_FAILED', `index ${firstIndex} has been used before`);
    }
    if (count < 1 || count > 1024 || firstIndex + count > 0xffffffff) {
      throw new KeyweaveError('BAD_REQUEST', `count must be 1 to 1024, not ${count}`);
    }
    if (degradedSlot > slots.length || (degradedSlot !== 0 && !stream.allowDegraded)) {
      throw new KeyweaveError(
        'AGREEMENT_FAILED',
        'the policy of this stream lets nothing stand in for a source',
      );
    }
    const expected = slots.flatMap((slot, i) => (isQkd(slot) || i === degradedSlot - 1 ? [] : [i]));
    const complete =
      request.publicKeys.length === expected.length &&
      request.publicKeys.every(
        (entry, i) =>
          entry.slot === expected[i] &&
          entry.publicKeys.length === count * (slots[entry.slot]?.publicKeyBytes ?? -1),
      );
    const usesQkd = slots.some((slot, i) => isQkd(slot) && i !== degradedSlot - 1);
    if (!complete || usesQkd !== (request.qkd !== undefined)) {
      throw new KeyweaveError('BAD_REQUEST', 'the batch does not carry exactly the agreed slots');
    }
    const room = stream.maxBufferedChunks + stream.buffer.waiting - stream.buffer.size;
    if (room < 1) {
      throw new KeyweaveError(
        'INSUFFICIENT_KEY',
        `the other end holds ${stream.buffer.size} unread keys and takes no more until its application reads them`,
      );
    }
    return Math.min(count, room);
  }

  async #encapsulateAll(request: ProduceRequest, count: number): Promise<(SlotContribution | undefined)[]> {
    const { slots } = this.#stream.terms;
    const offered = new Map(request.publicKeys.map((entry) => [entry.slot, entry.publicKeys] as const));
    const settled = await Promise.allSettled(
      slots.map(async (slot, i): Promise<SlotContribution | undefined> => {
        if (i === request.degradedSlot - 1) return { secrets: this.#standIn(i, request.firstIndex, count) };
        const all = offered.get(i);
        if (all === undefined) return undefined;
        const publicKeys = all.subarray(0, count * slot.publicKeyBytes);
        const made = await this.#services.pqcSource.encapsulate(
          { algorithm: slot.algorithm, publicKeys },
          { timeoutMs: STEP_TIMEOUT_MS.encapsulate },
        );
        if (
          made.ciphertexts.length !== count * slot.ciphertextBytes ||
          made.sharedSecrets.length !== count * slot.sharedSecretBytes
        ) {
          throw new KeyweaveError('INTERNAL', 'pqc-source answered with a wrong size');
        }
        return { secrets: made.sharedSecrets, publicKeys, ciphertexts: made.ciphertexts };
      }),
    );
    const parts = settled.map((result) => (result.status === 'fulfilled' ? result.value : undefined));
    const failed = settled.find((result) => result.status === 'rejected');
    if (failed) {
      wipe(...parts.map((part) => part?.secrets));
      throw failed.reason;
    }
    return parts;
  }

  /** Fills the QKD slots in; where the only one runs low, the batch gets shorter rather than failing. */
  async #withQkd(
    parts: readonly (SlotContribution | undefined)[],
    request: ProduceRequest,
    count: number,
  ): Promise<{ contributions: SlotContribution[]; made: number }> {
    const missing = parts.filter((part) => part === undefined).length;
    if (missing === 0 || !request.qkd) return { contributions: parts as SlotContribution[], made: count };
    await this.#qkd.follow(request.qkd);
    const keys = await this.#qkd.fetch(count * missing);
    const got = Math.floor(keys.length / QKD_SECRET_BYTES);
    const made = missing === 1 ? Math.min(count, got) : got === count * missing ? count : 0;
    if (made === 0) {
      wipe(keys);
      throw new KeyweaveError('INSUFFICIENT_KEY', 'the key manager of the other node has run dry');
    }
    let next = 0;
    const contributions = parts.map((part) => {
      if (part) return part;
      const start = next++ * made * QKD_SECRET_BYTES;
      return { secrets: keys.subarray(start, start + made * QKD_SECRET_BYTES) };
    });
    return { contributions, made };
  }

  async #derive(
    request: ProduceRequest,
    contributions: SlotContribution[],
    made: number,
  ): Promise<ProduceResponse> {
    const stream = this.#stream;
    const derived = await deriveBatch(this.#services, stream, {
      first: request.firstIndex,
      count: made,
      slots: contributions,
      qkd: request.qkd,
      degradedSlot: request.degradedSlot,
    });
    if (this.#stopped) {
      wipe(derived.keys);
      throw new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream');
    }
    this.#highWater = request.firstIndex + made;
    const pending: PendingBatch = {
      first: request.firstIndex,
      count: made,
      keys: derived.keys,
      initiatorTags: derived.initiatorTags,
      degraded: request.degradedSlot !== 0,
      timer: setTimeout(() => this.#decide(pending, false), PENDING_LIMIT_MS).unref(),
    };
    this.#pending = pending;
    return {
      count: made,
      ciphertexts: contributions.flatMap((part, slot) =>
        part.ciphertexts
          ? [
              {
                slot,
                ciphertexts: part.ciphertexts.subarray(
                  0,
                  made * (stream.terms.slots[slot]?.ciphertextBytes ?? 0),
                ),
              },
            ]
          : [],
      ),
      responderTags: derived.responderTags,
      confirm: undefined,
      buffered: stream.buffer.size,
    };
  }

  #decide(pending: PendingBatch, released: boolean): void {
    if (this.#pending !== pending) return;
    this.#pending = undefined;
    clearTimeout(pending.timer);
    this.#decided = { first: pending.first, released };
    if (released) this.#stream.release(pending.first, pending.keys, pending.degraded);
    else this.#stream.buffer.burnBelow(pending.first + pending.count);
    wipe(pending.keys);
    this.#startedMs = Number.NEGATIVE_INFINITY;
    this.#stream.refill();
  }

  #standIn(slot: number, first: number, count: number): Buffer {
    const seed = this.#services.sharedSeed(this.#stream.peerNode) ?? '';
    return standInSecrets(seed, this.#stream, slot, first, count);
  }
}
