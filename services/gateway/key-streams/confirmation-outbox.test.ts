import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { BatchDecision, ConfirmRequest, ConfirmResponse } from '#gen/keyweave/v1/key_agreement.ts';
import type { PeerAgreement } from '../agreement-client.ts';
import { ConfirmationOutbox } from './confirmation-outbox.ts';

const RELEASED: BatchDecision = { released: true, buffered: 0, failure: undefined };
const LIVING = { stopped: () => false, onLost: () => undefined };

let asked: number[][];
let answers: PromiseWithResolvers<ConfirmResponse>[];
let nowMs: number;
let outbox: ConfirmationOutbox;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  asked = [];
  answers = [];
  nowMs = 0;
  const confirm = ({ confirmations }: ConfirmRequest) => {
    asked.push(confirmations.map(({ firstIndex }) => firstIndex));
    const answer = Promise.withResolvers<ConfirmResponse>();
    answers.push(answer);
    return answer.promise;
  };
  outbox = new ConfirmationOutbox({ confirm } as unknown as PeerAgreement, () => nowMs);
});
afterEach(() => mock.timers.reset());

const confirmation = (firstIndex: number, stream = 1) => ({
  keyStreamId: Buffer.alloc(16, stream),
  incarnation: Buffer.alloc(8, stream),
  firstIndex,
  count: 1,
  initiatorTags: Buffer.alloc(32),
});
const settle = async () => {
  for (let i = 0; i < 5; i++) await Promise.resolve();
};

describe('ConfirmationOutbox', () => {
  it('sends what nobody waits for along with the next Produce', async () => {
    const decided = outbox.confirm(confirmation(0), LIVING, false);
    const ride = outbox.ride();
    assert.equal(ride.confirmations.length, 1);
    mock.timers.tick(1_000);
    assert.deepEqual(asked, [], 'it was sent twice');
    ride.arrived([RELEASED]);
    await decided;
  });

  it('sends by itself what no Produce takes along, at once where somebody waits', async () => {
    const slow = outbox.confirm(confirmation(0), LIVING, false);
    mock.timers.tick(5);
    assert.deepEqual(asked, []);
    const fast = outbox.confirm(confirmation(0, 2), LIVING, true);
    mock.timers.tick(1);
    assert.deepEqual(asked, [[0, 0]]);
    answers[0]?.resolve({ decisions: [RELEASED, RELEASED] });
    await Promise.all([slow, fast]);
  });

  it('has one confirmation of a stream on its way at a time, in order', async () => {
    const first = outbox.confirm(confirmation(0), LIVING, true);
    const second = outbox.confirm(confirmation(8), LIVING, true);
    mock.timers.tick(1);
    assert.deepEqual(asked, [[0]]);
    answers[0]?.resolve({ decisions: [RELEASED] });
    await first;
    mock.timers.tick(1);
    assert.deepEqual(asked, [[0], [8]]);
    answers[1]?.resolve({ decisions: [RELEASED] });
    await second;
  });

  it('repeats what was lost, whatever the loss looked like, until there is a decision', async () => {
    const lost: string[] = [];
    const asker = { stopped: () => false, onLost: (error: KeyweaveError) => lost.push(error.reason) };
    const decided = outbox.confirm(confirmation(0), asker, true);
    for (const reason of ['PEER_UNREACHABLE', 'TIMEOUT', 'INTERNAL'] as const) {
      mock.timers.tick(1_000);
      answers.at(-1)?.reject(new KeyweaveError(reason, 'as the test says'));
      await settle();
    }
    mock.timers.tick(1_000);
    assert.deepEqual(asked, [[0], [0], [0], [0]]);
    assert.deepEqual(lost, ['PEER_UNREACHABLE', 'TIMEOUT', 'INTERNAL']);
    answers.at(-1)?.resolve({ decisions: [RELEASED] });
    await decided;
  });

  it('says that a batch was dropped, or in the words of the other end why it could not be asked', async () => {
    const dropped = outbox.confirm(confirmation(0), LIVING, true);
    const unknown = outbox.confirm(confirmation(0, 2), LIVING, true);
    mock.timers.tick(1);
    const failure = { reason: 'UNKNOWN_STREAM', detail: 'who?' };
    answers[0]?.resolve({
      decisions: [
        { ...RELEASED, released: false },
        { ...RELEASED, released: false, failure },
      ],
    });
    await assert.rejects(dropped, /AGREEMENT_FAILED/);
    await assert.rejects(unknown, /UNKNOWN_STREAM: who\?/);
  });

  it('gives up with the stream, or when the other end no longer holds the batch', async () => {
    let stopped = false;
    const ended = outbox.confirm(confirmation(0), { ...LIVING, stopped: () => stopped }, true);
    const late = outbox.confirm(confirmation(0, 2), LIVING, true);
    mock.timers.tick(1);
    stopped = true;
    nowMs = 200_000;
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await assert.rejects(ended, /closed the stream/);
    await assert.rejects(late, /gone/);
    mock.timers.tick(10_000);
    assert.equal(asked.length, 1);
  });
});
