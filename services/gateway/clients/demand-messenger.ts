import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { Clock } from '#common/time/clock.ts';
import type {
  DemandAnswer,
  DemandRequest,
  DemandResponse,
  StreamDemand,
} from '#gen/keyweave/v1/key_agreement.ts';

interface Question {
  readonly demand: StreamDemand;
  readonly answered: PromiseWithResolvers<DemandAnswer>;
}

/**
 * Demands of many streams to one peer, together: one call under way at a time
 * carries whatever has been asked since the last, so that streams without
 * number cost the two nodes no more calls than one does.
 */
export class DemandMessenger {
  readonly #send: (request: DemandRequest) => Promise<DemandResponse>;
  readonly #clock: Pick<Clock, 'soon'>;
  readonly #waiting: Question[] = [];
  #sending = false;

  constructor(send: (request: DemandRequest) => Promise<DemandResponse>, clock: Pick<Clock, 'soon'>) {
    this.#send = send;
    this.#clock = clock;
  }

  /** The peer's answer to the demand of one stream. @throws KeyweaveError as the call does. */
  ask(demand: StreamDemand): Promise<DemandAnswer> {
    const answered = Promise.withResolvers<DemandAnswer>();
    this.#waiting.push({ demand, answered });
    if (!this.#sending) {
      this.#sending = true;
      // Whoever else asks in this turn of the event loop comes along.
      this.#clock.soon(() => void this.#sendAll());
    }
    return answered.promise;
  }

  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const questions = this.#waiting.splice(0, MESSAGE_LIMITS.demands.filled);
      try {
        const { answers } = await this.#send({ demands: questions.map(({ demand }) => demand) });
        if (answers.length !== questions.length) {
          throw new KeyweaveError(
            'AGREEMENT_FAILED',
            `the other end answered ${answers.length} demands of ${questions.length}`,
          );
        }
        for (const [i, { answered }] of questions.entries()) answered.resolve(answers[i] as DemandAnswer);
      } catch (error) {
        for (const { answered } of questions) answered.reject(error);
      }
    }
    this.#sending = false;
  }
}
