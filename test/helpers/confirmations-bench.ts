import { mock } from 'node:test';
import { type Clock, systemClock } from '#common/time/clock.ts';
import type { BatchDecision, ConfirmRequest, ConfirmResponse } from '#gen/keyweave/v1/key_agreement.ts';
import { Confirmations } from '../../services/gateway/production/initiator/confirmations.ts';

/** Confirmations to one peer, which answers when a test says so. */

export const RELEASED: BatchDecision = { released: true, buffered: 0, failure: undefined };
/** A stream that lives on. */
export const LIVING = { stopped: () => false, onLost: () => undefined };

/** First indexes of the batches of each message. */
export let asked: number[][];
export let answers: PromiseWithResolvers<ConfirmResponse>[];
export let confirmations: Confirmations;
/** What the clock says; its timers are the run time's, which a test mocks. */
export const time = { nowMs: 0 };
const clock: Clock = { ...systemClock, monotonicMs: () => time.nowMs };

/** Nothing asked yet; timers stand until they are ticked. */
export function begin(): void {
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  asked = [];
  answers = [];
  time.nowMs = 0;
  const confirm = ({ confirmations }: ConfirmRequest) => {
    asked.push(confirmations.map(({ firstIndex }) => firstIndex));
    const answer = Promise.withResolvers<ConfirmResponse>();
    answers.push(answer);
    return answer.promise;
  };
  confirmations = new Confirmations({ confirm }, clock);
}

export const confirmation = (firstIndex: number, stream = 1) => ({
  keyStreamId: Buffer.alloc(16, stream),
  incarnation: Buffer.alloc(8, stream),
  firstIndex,
  count: 1,
  initiatorTags: Buffer.alloc(32),
});

/** A KSID; many more than there are bytes. */
export const id = (stream: number): Buffer => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(stream);
  return bytes;
};

/** Lets everything happen that waits for no timer. */
export const settle = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};
