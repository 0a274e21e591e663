import { isReason, type KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import { growingPause } from '#common/time/growing-pause.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import type { SourceKind } from '../../streams/policy/lacking.ts';
import { replaceableSlot, standInSlot } from '../../streams/stream-terms.ts';
import type { Batch } from '../batch.ts';
import { missingKind, OF_QKD } from '../missing-source.ts';
import { pauseForRoom } from '../no-room.ts';

const RETRY_DELAY_MS = 50;
const MAX_PAUSE_MS = 1_000;

/** Attempts before those who wait are told. A service that is being restarted is back within a second. */
const ATTEMPTS = 2;
const ATTEMPTS_WHILE_PASSING = 8;

/** What passes by itself: a service that is away, and what its return has left behind in the QKD keys. */
const UNREACHABLE = ['PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'SHUTTING_DOWN'] as const;
const PASSING = [...UNREACHABLE, 'QKD_OUT_OF_STEP'] as const;

/**
 * KEMs are left out once they have failed for so long, or for half of the
 * stream's timeout where that is less: a pqc-source that is being restarted is
 * waited for.
 */
const PQC_PATIENCE_MS = 1_000;

/** For so long they stay left out before they are tried again; twice as long each time, up to the limit. */
const PQC_AWAY_MS = 2_000;
const PQC_AWAY_LIMIT_MS = 60_000;

/** What to do about a failure: offer again at once or after the pause, or tell those who wait, and pause. */
export type Remedy = 'again' | 'later' | 'give up';

/**
 * What the failures of one stream's batches lead to: how often a batch is
 * tried, the pauses between attempts, and whether the shared_seed stands in
 * for a missing source, or sources are left out. A stand-in comes first, since
 * it keeps a second secret.
 */
export class InitiatorRecovery {
  readonly #clock: Pick<Clock, 'monotonicMs' | 'after'>;
  readonly #stream: KeyStream;
  /** Failures that say nothing of this stream by itself. */
  readonly #ofOthers: readonly ErrorReason[];
  /** Slot that the shared_seed stands in for in every batch, and in the next one. */
  readonly #standInSlot: number | undefined;
  #replacedSlot: number | undefined;
  /** Kind of sources that the next batch is made without. */
  #leftOut: SourceKind | undefined;
  /** Since when KEMs have failed, and no batch with them has been released. */
  #pqcFailsSinceMs: number | undefined;
  #pqcAwayUntilMs = Number.NEGATIVE_INFINITY;
  #pqcAwayMs = PQC_AWAY_MS;
  /** No batch has succeeded yet, so that a key manager may never have been reached; or one has failed since. */
  #isDoubtful = true;
  /** The QKD stream has been reopened since it had lost step, and no batch of it has succeeded since. */
  #reopened = false;
  /** Batches in a row that the other end had no room for. */
  #roomless = 0;
  #failures = 0;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;
  #pause: Timer | undefined;

  /** @param sharesQkd whether the stream takes its QKD keys where others do. */
  constructor(clock: Pick<Clock, 'monotonicMs' | 'after'>, stream: KeyStream, sharesQkd = false) {
    this.#clock = clock;
    this.#stream = stream;
    this.#ofOthers = sharesQkd ? [...UNREACHABLE, ...OF_QKD] : UNREACHABLE;
    this.#standInSlot = standInSlot(stream.terms);
  }

  /** Whether the next batch may be in trouble: one has been, or none has shown yet that it is not. */
  get isDoubtful(): boolean {
    return this.#isDoubtful;
  }

  get isPaused(): boolean {
    return this.#clock.monotonicMs() < this.#pausedUntilMs;
  }

  /** Slot that the shared_seed stands in for in the next batch; undefined = none. */
  get standIn(): number | undefined {
    return this.#replacedSlot ?? this.#standInSlot;
  }

  /** Kind of sources that the next batch is made without; undefined = none. */
  get leftOut(): SourceKind | undefined {
    return this.#leftOut;
  }

  /** Whether the policies of both ends let batches be made without QKD: something stands in for it, or it is left out. */
  get mayDoWithoutQkd(): boolean {
    return this.#mayReplaceQkd || this.#stream.leeway.mayLack.qkd;
  }

  /** A batch has been released at both ends. */
  succeeded({ qkd, leftOut }: Pick<Batch, 'qkd' | 'leftOut'>): void {
    this.#failures = 0;
    this.#isDoubtful = false;
    this.#roomless = 0;
    this.#replacedSlot = undefined;
    if (qkd) this.#reopened = false;
    if (leftOut !== 'pqc') {
      this.#pqcFailsSinceMs = undefined;
      this.#pqcAwayMs = PQC_AWAY_MS;
    }
    if (leftOut !== 'pqc' || this.#clock.monotonicMs() >= this.#pqcAwayUntilMs) this.#leftOut = undefined;
  }

  /** A batch with that stand-in, or without that kind of sources, has failed, and not for reasons of an earlier one. */
  failed({ standIn, leftOut }: Pick<Batch, 'standIn' | 'leftOut'>, error: KeyweaveError): Remedy {
    const missing = missingKind(error);
    if (standIn === undefined && leftOut === undefined && this.#doWithout(missing, error)) return 'again';
    this.#replacedSlot = undefined;
    this.#leftOut = undefined;
    // What fails during a pause is the same trouble.
    if (!this.isPaused) this.#failures += 1;
    this.#isDoubtful ||= !isReason(error, ...this.#ofOthers);
    const isAwaited = missing === 'pqc' && this.#stream.leeway.mayLack.pqc;
    const attempts = isAwaited || isReason(error, ...PASSING) ? ATTEMPTS_WHILE_PASSING : ATTEMPTS;
    return this.#failures >= attempts ? 'give up' : 'later';
  }

  /** Calls `then` after the pause that follows a failure: pauses keep trouble from becoming a busy loop. */
  pause(then: () => void): void {
    this.#pauseFor(growingPause(this.#failures - 1, RETRY_DELAY_MS, MAX_PAUSE_MS), then);
  }

  /** Calls `then` when the other end may have room again, having had none for a batch. */
  pauseForRoom(then: () => void): void {
    this.#roomless += 1;
    this.#pauseFor(pauseForRoom(this.#roomless), then);
  }

  stop(): void {
    this.#pause?.cancel();
  }

  #pauseFor(delayMs: number, then: () => void): void {
    const nowMs = this.#clock.monotonicMs();
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, nowMs + delayMs);
    this.#pause?.cancel();
    this.#pause = this.#clock.after(this.#pausedUntilMs - nowMs + 1, then);
  }

  /** Whether the next batch is made without what is missing, or with another attempt at it. */
  #doWithout(missing: SourceKind | undefined, error: KeyweaveError): boolean {
    if (missing === 'qkd' && this.mayDoWithoutQkd) {
      if (isReason(error, 'QKD_OUT_OF_STEP') && !this.#reopened) this.#reopened = true;
      else if (this.#mayReplaceQkd) this.#replacedSlot = replaceableSlot(this.#stream.terms);
      else this.#leftOut = 'qkd';
      return true;
    }
    if (missing !== 'pqc' || !this.#stream.leeway.mayLack.pqc) return false;
    const nowMs = this.#clock.monotonicMs();
    this.#pqcFailsSinceMs ??= nowMs;
    const patienceMs = Math.min(PQC_PATIENCE_MS, this.#stream.qos.timeoutMs / 2);
    if (nowMs - this.#pqcFailsSinceMs < patienceMs) return false;
    this.#leftOut = 'pqc';
    this.#pqcAwayUntilMs = nowMs + this.#pqcAwayMs;
    this.#pqcAwayMs = Math.min(2 * this.#pqcAwayMs, PQC_AWAY_LIMIT_MS);
    return true;
  }

  /** Whether the policy of both ends lets the shared_seed stand in for QKD. */
  get #mayReplaceQkd(): boolean {
    const { terms, leeway } = this.#stream;
    return leeway.standIn && replaceableSlot(terms) !== undefined;
  }
}
