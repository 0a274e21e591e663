import { errorOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { BatchConfirmation, BatchDecision } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerAgreement } from '../agreement-client.ts';
import { STEP_TIMEOUT_MS } from '../sources/node-services.ts';

/** How long a confirmation for which nobody waits may wait for a Produce to ride on. */
const LINGER_MS = 10;
const RETRY_DELAY_MS = 50;
const MAX_PAUSE_MS = 1_000;

/** By then the responder has dropped a batch that nobody confirmed. */
const LIMIT_MS = 150_000;

/** Who asks for a decision. */
export interface Asker {
  /** Once true the question is not repeated. */
  stopped(): boolean;
  /** The question or its answer was lost; it will be repeated. */
  onLost(error: KeyweaveError): void;
}

interface Entry {
  readonly confirmation: BatchConfirmation;
  /** The stream, so that its confirmations go one after the other. */
  readonly stream: string;
  readonly asker: Asker;
  readonly sinceMs: number;
  readonly decided: PromiseWithResolvers<void>;
}

/** Confirmations on their way with a message; settled by what comes back. */
export interface Ride {
  readonly confirmations: BatchConfirmation[];
  arrived(decisions: readonly BatchDecision[]): void;
  lost(error: unknown): void;
}

/**
 * Confirmations to one peer. They ride on the next Produce where one comes
 * soon, else go by themselves, and are repeated until the responder's decision
 * is known: it alone decides whether a batch is released, so that no chunk is
 * ever released at one end only because an answer was lost.
 */
export class ConfirmationOutbox {
  readonly #peer: PeerAgreement;
  readonly #now: () => number;
  readonly #waiting: Entry[] = [];
  /** Streams with a confirmation on its way. */
  readonly #travelling = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;

  constructor(peer: PeerAgreement, now: () => number) {
    this.#peer = peer;
    this.#now = now;
  }

  /**
   * Asks for the decision on a batch. Resolves when the responder has released it.
   *
   * @param urgent somebody waits for the chunks.
   * @throws KeyweaveError AGREEMENT_FAILED when it was dropped, UNKNOWN_STREAM and others.
   */
  confirm(confirmation: BatchConfirmation, asker: Asker, urgent: boolean): Promise<void> {
    const decided = Promise.withResolvers<void>();
    const stream = confirmation.keyStreamId.toString('latin1') + confirmation.incarnation.toString('latin1');
    this.#waiting.push({ confirmation, stream, asker, sinceMs: this.#now(), decided });
    this.#schedule(urgent ? 0 : LINGER_MS, urgent);
    return decided.promise;
  }

  /** Asks the responder to drop a batch; nobody waits for the answer. */
  drop(batch: Omit<BatchConfirmation, 'initiatorTags'>, asker: Asker): void {
    this.confirm({ ...batch, initiatorTags: Buffer.alloc(0) }, asker, false).catch(() => undefined);
  }

  /** Takes what may travel now. */
  ride(): Ride {
    const entries: Entry[] = [];
    for (let i = 0; i < this.#waiting.length; ) {
      const entry = this.#waiting[i] as Entry;
      if (this.#travelling.has(entry.stream)) {
        i += 1;
        continue;
      }
      this.#waiting.splice(i, 1);
      if (entry.asker.stopped()) {
        entry.decided.reject(stoppedError());
        continue;
      }
      this.#travelling.add(entry.stream);
      entries.push(entry);
    }
    return {
      confirmations: entries.map((entry) => entry.confirmation),
      arrived: (decisions) => this.#arrived(entries, decisions),
      lost: (error) => this.#lost(entries, error),
    };
  }

  #schedule(ms: number, sooner = false): void {
    if (this.#timer !== undefined && !sooner) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#send();
    }, ms);
  }

  async #send(): Promise<void> {
    const ride = this.ride();
    if (ride.confirmations.length === 0) return;
    try {
      const { decisions } = await this.#peer.confirm(
        { confirmations: ride.confirmations },
        STEP_TIMEOUT_MS.confirm,
      );
      ride.arrived(decisions);
    } catch (error) {
      ride.lost(error);
    }
  }

  #arrived(entries: readonly Entry[], decisions: readonly BatchDecision[]): void {
    this.#failures = 0;
    entries.forEach((entry, i) => {
      this.#travelling.delete(entry.stream);
      const decision = decisions[i];
      if (decision?.released) entry.decided.resolve();
      else if (decision?.failure) entry.decided.reject(errorOf(decision.failure));
      else entry.decided.reject(new KeyweaveError('AGREEMENT_FAILED', 'the other end has dropped the batch'));
    });
    if (this.#waiting.length > 0) this.#schedule(0, true);
  }

  /** Whoever could not be asked is asked again while the stream lives and the responder may still hold the batch. */
  #lost(entries: readonly Entry[], thrown: unknown): void {
    if (entries.length === 0) return;
    const error = KeyweaveError.from(thrown);
    const again: Entry[] = [];
    for (const entry of entries) {
      this.#travelling.delete(entry.stream);
      if (entry.asker.stopped()) entry.decided.reject(stoppedError());
      else if (this.#now() - entry.sinceMs > LIMIT_MS) entry.decided.reject(error);
      else {
        entry.asker.onLost(error);
        again.push(entry);
      }
    }
    this.#waiting.unshift(...again);
    this.#failures += 1;
    if (this.#waiting.length > 0) {
      this.#schedule(Math.min(MAX_PAUSE_MS, RETRY_DELAY_MS * 2 ** Math.min(10, this.#failures - 1)));
    }
  }
}

function stoppedError(): KeyweaveError {
  return new KeyweaveError('UNKNOWN_STREAM', 'this end has closed the stream');
}
