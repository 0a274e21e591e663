import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { DemandRequest, DemandResponse } from '#gen/keyweave/v1/key_agreement.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { DemandMessenger } from './demand-messenger.ts';

let sent: { counts: number[]; answered: PromiseWithResolvers<DemandResponse> }[];
let messenger: DemandMessenger;
let clock: FakeClock;

beforeEach(() => {
  sent = [];
  clock = new FakeClock();
  messenger = new DemandMessenger(({ demands }: DemandRequest) => {
    const answered = Promise.withResolvers<DemandResponse>();
    sent.push({ counts: demands.map(({ count }) => count), answered });
    return answered.promise;
  }, clock);
});

const ask = (count: number) =>
  messenger.ask({ keyStreamId: Buffer.alloc(16), incarnation: Buffer.alloc(8), count, waitedFor: true });
const turn = () => clock.settle();
/** Answers each demand with its own count. */
const answer = (call: number, counts = sent[call]?.counts ?? []) =>
  sent[call]?.answered.resolve({ answers: counts.map((buffered) => ({ buffered, failure: undefined })) });

describe('DemandMessenger', () => {
  it('sends what is asked in one turn as one message, and gives each its own answer', async () => {
    const all = [ask(1), ask(2), ask(3)];
    await turn();
    assert.deepEqual(sent[0]?.counts, [1, 2, 3]);
    answer(0);
    assert.deepEqual(
      (await Promise.all(all)).map(({ buffered }) => buffered),
      [1, 2, 3],
    );
  });

  it('has one message under way, of no more demands than the other end takes', async () => {
    const first = ask(0);
    await turn();
    const many = Array.from({ length: 600 }, (_, i) => ask(i));
    await turn();
    assert.equal(sent.length, 1);
    for (let call = 0; call < 4; call++) {
      assert.ok((sent[call]?.counts.length ?? 0) <= MESSAGE_LIMITS.demands.filled);
      answer(call);
      await turn();
    }
    await Promise.all([first, ...many]);
    const late = ask(7);
    await turn();
    answer(4);
    assert.equal((await late).buffered, 7);
  });

  it('tells everybody of a message that was lost, or answered wrongly, and goes on', async () => {
    const lost = [ask(1), ask(2)];
    await turn();
    const next = ask(3);
    sent[0]?.answered.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    for (const one of lost) await assert.rejects(one, /PEER_UNREACHABLE/);
    await turn();
    answer(1, [3, 3]);
    await assert.rejects(next, /AGREEMENT_FAILED: the other end answered 2 demands of 1/);
  });
});
