import { asBuffer } from '#common/crypto/bytes.ts';
import { errorOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { CALL_LIMITS, MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { Clock, Timer } from '#common/time/clock.ts';
import { growingPause } from '#common/time/growing-pause.ts';
import type { BatchConfirmation, BatchDecision } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerLink } from '../../clients/peer-link.ts';

/** How long a confirmation for which nobody waits may wait for a Produce to ride on. */
const LINGER_MS = 10;
const RETRY_DELAY_MS = 50;
const MAX_PAUSE_MS = 1_000;

/** By then the responder has dropped a batch that nobody confirmed. */
const LIMIT_MS = 150_000;

/** Batches of one stream that wait to be dropped; the responder holds no more unconfirmed ones. */
const MAX_DROPS = 4;

/** What one message carries, entries and bytes; the rest goes with the next. */
const MAX_ENTRIES = MESSAGE_LIMITS.confirmations.filled;
const MAX_BYTES = MESSAGE_LIMITS.confirmationBytes.filled;

/** Bytes of an entry beside its tags, generously. */
const ENTRY_BYTES = 48;

/** Who asks for a decision. */
export interface Asker {
  /** Once true the question is not repeated. */
  stopped(): boolean;
  /** The question or its answer was lost; it will be repeated. */
  onLost(error: KeyweaveError): void;
}

interface Pending {
  readonly confirmation: BatchConfirmation;
  readonly stream: Outgoing;
  readonly asker: Asker;
  readonly sinceMs: number;
  readonly decided: PromiseWithResolvers<void>;
  /** Largest message that it may travel in: a message that was refused is halved until the culprit is alone. */
  mates: number;
  /** It goes without a Produce, since a message that carried it was refused: the offers must not share its fate, nor it theirs. */
  walks: boolean;
}

/** A stream's entries go one after the other. */
interface Outgoing {
  readonly key: string;
  readonly waiting: Pending[];
  travelling: boolean;
}

/** Confirmations that travel with one message; settled by what comes back. */
export interface Riders {
  readonly confirmations: BatchConfirmation[];
  arrived(decisions: readonly BatchDecision[]): void;
  lost(error: unknown): void;
}

/**
 * Confirmations to one peer. They ride on the next Produce where one comes
 * soon, else go by themselves, and are repeated until the responder's decision
 * is known: it alone decides whether a batch is released, so that no chunk is
 * ever released at one end only because an answer was lost. What the peer
 * refuses to read is not repeated.
 */
export class Confirmations {
  readonly #link: Pick<PeerLink, 'confirm'>;
  readonly #clock: Clock;
  /** Streams with entries that wait or travel, the next to travel first. */
  readonly #streams = new Map<string, Outgoing>();
  #timer: Timer | undefined;
  #failures = 0;
  /** Confirm calls under way. */
  #sending = 0;

  constructor(link: Pick<PeerLink, 'confirm'>, clock: Clock) {
    this.#link = link;
    this.#clock = clock;
  }

  /**
   * Asks for the decision on a batch. Resolves when the responder has released it.
   *
   * @param urgent somebody waits for the chunks.
   * @throws KeyweaveError AGREEMENT_FAILED when it was dropped, UNKNOWN_STREAM and others.
   */
  confirm(confirmation: BatchConfirmation, asker: Asker, urgent: boolean): Promise<void> {
    // A batch that is released ends those before it at the other end, too.
    this.#forgetDrops(this.#streamOf(confirmation), 0);
    return this.#add(confirmation, asker, urgent);
  }

  /** Asks the responder to drop a batch; nobody waits for the answer. */
  drop(batch: Omit<BatchConfirmation, 'initiatorTags'>, asker: Asker): void {
    const confirmation = { ...batch, initiatorTags: Buffer.alloc(0) };
    // Of older ones the responder knows by itself that they are over.
    this.#forgetDrops(this.#streamOf(confirmation), MAX_DROPS - 1);
    this.#add(confirmation, asker, false).catch(() => undefined);
  }

  #add(confirmation: BatchConfirmation, asker: Asker, urgent: boolean): Promise<void> {
    const decided = Promise.withResolvers<void>();
    const stream = this.#streamOf(confirmation);
    const sinceMs = this.#clock.monotonicMs();
    stream.waiting.push({ confirmation, stream, asker, sinceMs, decided, mates: MAX_ENTRIES, walks: false });
    this.#schedule(urgent ? 0 : LINGER_MS, urgent);
    return decided.promise;
  }

  /** Forgets batches of a stream that wait to be dropped, all but the newest `keep`. */
  #forgetDrops({ waiting }: Outgoing, keep: number): void {
    const drops = waiting.filter(isDrop);
    for (const old of drops.slice(0, Math.max(0, drops.length - keep)))
      waiting.splice(waiting.indexOf(old), 1);
  }

  /** Takes what may travel now with a Produce. */
  board(): Riders {
    return this.#take(false);
  }

  #take(walking: boolean): Riders {
    const entries: Pending[] = [];
    let most: number = MAX_ENTRIES;
    let bytes = 0;
    for (const stream of [...this.#streams.values()]) {
      if (entries.length >= most) break;
      const entry = this.#firstOf(stream);
      if (!entry || (entry.walks && !walking) || entry.mates <= entries.length) continue;
      const size = ENTRY_BYTES + entry.confirmation.initiatorTags.length;
      if (entries.length > 0 && bytes + size > MAX_BYTES) break;
      bytes += size;
      most = Math.min(most, entry.mates);
      stream.waiting.shift();
      stream.travelling = true;
      entries.push(entry);
      // The others come first next time.
      this.#streams.delete(stream.key);
      this.#streams.set(stream.key, stream);
    }
    return {
      confirmations: entries.map((entry) => entry.confirmation),
      arrived: (decisions) => this.#arrived(entries, decisions, walking),
      lost: (error) => this.#lost(entries, error, walking),
    };
  }

  /** The stream's next entry that may travel; those whose asker has gone are done. */
  #firstOf(stream: Outgoing): Pending | undefined {
    if (stream.travelling) return undefined;
    for (let entry = stream.waiting[0]; entry; entry = stream.waiting[0]) {
      if (!entry.asker.stopped()) return entry;
      stream.waiting.shift();
      entry.decided.reject(stoppedError());
    }
    this.#streams.delete(stream.key);
    return undefined;
  }

  #streamOf({ keyStreamId, incarnation }: BatchConfirmation): Outgoing {
    const key = asBuffer(keyStreamId).toString('latin1') + asBuffer(incarnation).toString('latin1');
    let stream = this.#streams.get(key);
    if (!stream) {
      stream = { key, waiting: [], travelling: false };
      this.#streams.set(key, stream);
    }
    return stream;
  }

  #schedule(ms: number, sooner = false): void {
    if (this.#timer !== undefined && !sooner) return;
    this.#timer?.cancel();
    const send = () => {
      this.#timer = undefined;
      void this.#send();
    };
    this.#timer = ms === 0 ? this.#clock.soon(send) : this.#clock.after(ms, send);
  }

  async #send(): Promise<void> {
    // Whatever comes back lets the next ones go.
    if (this.#sending >= CALL_LIMITS.confirm.filled) return;
    const riders = this.#take(true);
    if (riders.confirmations.length === 0) return;
    this.#sending += 1;
    if (this.#anyWaits()) this.#schedule(0);
    const { confirmations } = riders;
    const answer = await this.#link.confirm({ confirmations }).then(
      ({ decisions }) => ({ decisions }),
      (error: unknown) => ({ error }),
    );
    this.#sending -= 1;
    if ('error' in answer) riders.lost(answer.error);
    else riders.arrived(answer.decisions);
  }

  #arrived(entries: readonly Pending[], decisions: readonly BatchDecision[], walked: boolean): void {
    if (decisions.length !== entries.length) {
      const detail = `the other end decided on ${decisions.length} batches of ${entries.length}`;
      this.#lost(entries, new KeyweaveError('AGREEMENT_FAILED', detail), walked);
      return;
    }
    this.#failures = 0;
    entries.forEach((entry, i) => {
      this.#leave(entry);
      const { released, failure } = decisions[i] as BatchDecision;
      if (released) entry.decided.resolve();
      else if (failure) entry.decided.reject(errorOf(failure));
      else entry.decided.reject(new KeyweaveError('AGREEMENT_FAILED', 'the other end has dropped the batch'));
    });
    if (this.#anyWaits()) this.#schedule(0, true);
  }

  /** Whoever could not be asked is asked again while the stream lives and the responder may still hold the batch. */
  #lost(entries: readonly Pending[], thrown: unknown, walked: boolean): void {
    if (entries.length === 0) return;
    const error = KeyweaveError.from(thrown);
    // An INTERNAL error of the other end may have come after it had decided.
    const refused = !error.retryable && !isReason(error, 'INTERNAL');
    const halves = isReason(error, 'BAD_REQUEST', 'LIMIT_EXCEEDED');
    // Of a refused Produce the offers may be the cause.
    const final = refused && walked && (entries.length === 1 || !halves);
    for (const entry of entries) {
      if (refused) entry.walks = true;
      if (walked && halves) entry.mates = Math.max(1, Math.floor(entries.length / 2));
      if (!final && this.#mayRepeat(entry)) {
        entry.stream.waiting.unshift(entry);
        entry.asker.onLost(error);
      } else entry.decided.reject(entry.asker.stopped() ? stoppedError() : error);
      this.#leave(entry);
    }
    if (refused) {
      if (this.#anyWaits()) this.#schedule(0, true);
      return;
    }
    this.#failures += 1;
    if (this.#anyWaits()) {
      this.#schedule(growingPause(this.#failures - 1, RETRY_DELAY_MS, MAX_PAUSE_MS));
    }
  }

  #mayRepeat({ asker, sinceMs }: Pending): boolean {
    return !asker.stopped() && this.#clock.monotonicMs() - sinceMs <= LIMIT_MS;
  }

  /** Its stream may send the next one. */
  #leave({ stream }: Pending): void {
    stream.travelling = false;
    if (stream.waiting.length === 0) this.#streams.delete(stream.key);
  }

  #anyWaits(): boolean {
    for (const { travelling } of this.#streams.values()) if (!travelling) return true;
    return false;
  }
}

function isDrop({ confirmation }: Pending): boolean {
  return confirmation.initiatorTags.length === 0;
}

function stoppedError(): KeyweaveError {
  return new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream');
}
