import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import {
  answers,
  asked,
  begin,
  confirmation,
  confirmations,
  id,
  LIVING,
  RELEASED,
  settle,
  time,
} from '#test/helpers/confirmations-bench.ts';

beforeEach(begin);
afterEach(() => mock.timers.reset());

describe('confirmations that are lost or refused', () => {
  it('repeats what was lost, whatever the loss looked like, until there is a decision', async () => {
    const lost: string[] = [];
    const asker = { stopped: () => false, onLost: (error: KeyweaveError) => lost.push(error.reason) };
    const decided = confirmations.confirm(confirmation(0), asker, true);
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

  it('gives up with the stream, or when the other end no longer holds the batch', async () => {
    let stopped = false;
    const ended = confirmations.confirm(confirmation(0), { ...LIVING, stopped: () => stopped }, true);
    const late = confirmations.confirm(confirmation(0, 2), LIVING, true);
    mock.timers.tick(1);
    stopped = true;
    time.nowMs = 200_000;
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await assert.rejects(ended, /closed the stream/);
    await assert.rejects(late, /gone/);
    mock.timers.tick(10_000);
    assert.equal(asked.length, 1);
  });

  it('finds the one that the other end cannot read, rejects it, and repeats it never again', async () => {
    const culprit = 77;
    const outcomes = new Map<number, string>();
    for (let i = 0; i < 200; i++) {
      confirmations.confirm({ ...confirmation(i), keyStreamId: id(i) }, LIVING, true).then(
        () => outcomes.set(i, 'released'),
        (error) => outcomes.set(i, String(error)),
      );
    }
    for (let turn = 0, seen = 0; turn < 50; turn++) {
      mock.timers.tick(1);
      await settle();
      for (; seen < asked.length; seen++) {
        const batch = asked[seen] as number[];
        if (batch.includes(culprit)) {
          answers[seen]?.reject(new KeyweaveError('BAD_REQUEST', 'what is this?'));
        } else answers[seen]?.resolve({ decisions: batch.map(() => RELEASED) });
      }
      await settle();
    }
    assert.equal(outcomes.size, 200);
    assert.match(outcomes.get(culprit) ?? '', /what is this/);
    assert.equal([...outcomes.values()].filter((outcome) => outcome === 'released').length, 199);
    const tries = asked.filter((batch) => batch.includes(culprit)).length;
    assert.ok(tries <= 9, `asked ${tries} times`);
    assert.equal(asked.at(-1)?.includes(culprit), true);
  });

  it('gives up at once what is refused for whom it comes from', async () => {
    const all = [1, 2, 3].map((stream) => confirmations.confirm(confirmation(0, stream), LIVING, true));
    mock.timers.tick(1);
    answers[0]?.reject(new KeyweaveError('NOT_ALLOWED', 'not on the list'));
    for (const one of all) await assert.rejects(one, /not on the list/);
    mock.timers.tick(10_000);
    assert.equal(asked.length, 1);
  });

  it('sends by themselves those whose Produce was refused, since the offers may be at fault', async () => {
    const decided = confirmations.confirm(confirmation(0), LIVING, false);
    confirmations.board().lost(new KeyweaveError('BAD_REQUEST', 'an offer cannot be read'));
    assert.equal(confirmations.board().confirmations.length, 0);
    mock.timers.tick(1);
    assert.deepEqual(asked, [[0]]);
    answers[0]?.resolve({ decisions: [RELEASED] });
    await decided;
  });

  it('takes a wrong number of decisions for none', async () => {
    const lost: string[] = [];
    const asker = { ...LIVING, onLost: (error: KeyweaveError) => lost.push(error.detail) };
    const both = [1, 2].map((stream) => confirmations.confirm(confirmation(0, stream), asker, true));
    mock.timers.tick(1);
    for (const decisions of [[RELEASED], [RELEASED, RELEASED, RELEASED]]) {
      answers.at(-1)?.resolve({ decisions });
      await settle();
      mock.timers.tick(1_000);
    }
    assert.equal(lost.length, 4);
    assert.match(lost[0] ?? '', /1 batches of 2/);
    answers.at(-1)?.resolve({ decisions: [RELEASED, RELEASED] });
    await Promise.all(both);
  });

  it('pauses for 50 ms to a second, longer after each loss, and for 50 ms once an answer has come', async () => {
    void confirmations.confirm(confirmation(0), LIVING, true);
    mock.timers.tick(1);
    const pauses = async (count: number) => {
      const found: number[] = [];
      for (let i = 0; i < count; i++) {
        const before = asked.length;
        answers.at(-1)?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
        await settle();
        let ms = 0;
        for (; asked.length === before && ms < 2_000; ms++) mock.timers.tick(1);
        found.push(ms);
      }
      return found;
    };
    assert.deepEqual(await pauses(7), [50, 100, 200, 400, 800, 1_000, 1_000]);
    answers.at(-1)?.resolve({ decisions: [RELEASED] });
    await settle();
    void confirmations.confirm(confirmation(8), LIVING, true);
    mock.timers.tick(1);
    assert.deepEqual(await pauses(2), [50, 100]);
  });

  it('does not count what carried nothing as a loss', async () => {
    for (let i = 0; i < 5; i++) confirmations.board().lost(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    void confirmations.confirm(confirmation(0), LIVING, true);
    mock.timers.tick(1);
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await settle();
    mock.timers.tick(50);
    assert.equal(asked.length, 2);
  });

  it('makes nobody who comes later wait for the pause of those who have given up', async () => {
    time.nowMs = 1;
    const given = confirmations.confirm(confirmation(0), LIVING, true);
    mock.timers.tick(1);
    time.nowMs += 150_001;
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await assert.rejects(given, /gone/);
    void confirmations.confirm(confirmation(0, 2), LIVING, false);
    mock.timers.tick(10);
    assert.equal(asked.length, 2);
  });

  it('makes nobody who is in a hurry wait for the pause of another', async () => {
    void confirmations.confirm(confirmation(0), LIVING, true);
    mock.timers.tick(1);
    void confirmations.confirm(confirmation(0, 2), LIVING, true);
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await settle();
    mock.timers.tick(1);
    assert.equal(asked.length, 2);
  });

  it('repeats a question for as long as the other end may hold the batch, 150 s', async () => {
    time.nowMs = 7;
    const decided = confirmations.confirm(confirmation(0), LIVING, true);
    mock.timers.tick(1);
    time.nowMs += 150_000;
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await settle();
    mock.timers.tick(50);
    assert.equal(asked.length, 2);
    answers[1]?.resolve({ decisions: [RELEASED] });
    await decided;
  });

  it('repeats nothing for a stream that ended while the question was lost', async () => {
    let stopped = false;
    const lost: unknown[] = [];
    const asker = { stopped: () => stopped, onLost: (error: unknown) => lost.push(error) };
    const ended = confirmations.confirm(confirmation(0), asker, true);
    mock.timers.tick(1);
    stopped = true;
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await assert.rejects(ended, /UNKNOWN_STREAM/);
    assert.deepEqual(lost, []);
  });

  const of = (stream: number) => {
    confirmations.confirm(confirmation(stream, stream), LIVING, true).catch(() => undefined);
  };

  for (const [reason, pause] of [
    ['BAD_REQUEST', 1],
    ['LIMIT_EXCEEDED', 50],
  ] as const) {
    it(`halves a message that is answered with ${reason}, and lets nobody else join the halves`, async () => {
      for (const stream of [1, 2, 3, 4]) of(stream);
      mock.timers.tick(1);
      answers[0]?.reject(new KeyweaveError(reason, 'no'));
      await settle();
      mock.timers.tick(pause - 1);
      for (const stream of [5, 6]) of(stream);
      mock.timers.tick(1);
      mock.timers.tick(1);
      assert.deepEqual(asked.slice(1, 3), [
        [1, 2],
        [3, 4],
      ]);
      answers[1]?.reject(new KeyweaveError(reason, 'no'));
      await settle();
      mock.timers.tick(1);
      mock.timers.tick(100);
      const alone = asked.slice(3).filter((message) => message.includes(1) || message.includes(2));
      assert.deepEqual(alone.toSorted(), [[1], [2]]);
    });
  }

  it('lets what may be unreadable join nobody who was sent before it', async () => {
    of(5);
    mock.timers.tick(1);
    for (const stream of [1, 2]) of(stream);
    mock.timers.tick(1);
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    answers[1]?.reject(new KeyweaveError('BAD_REQUEST', 'what is this?'));
    await settle();
    for (let i = 0; i < 3; i++) mock.timers.tick(1);
    assert.deepEqual(asked, [[5], [1, 2], [5], [1], [2]]);
  });

  it('keeps what may be unreadable away from the offers of a Produce', async () => {
    for (const stream of [1, 2]) of(stream);
    mock.timers.tick(1);
    answers[0]?.reject(new KeyweaveError('BAD_REQUEST', 'what is this?'));
    await settle();
    of(3);
    assert.deepEqual(
      confirmations.board().confirmations.map(({ firstIndex }) => firstIndex),
      [3],
    );
  });

  it('lets what was lost with a Produce riders again, and sends together what was refused with one', () => {
    for (const stream of [1, 2, 3, 4]) of(stream);
    confirmations.board().lost(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    const riders = confirmations.board();
    assert.equal(riders.confirmations.length, 4);
    riders.lost(new KeyweaveError('BAD_REQUEST', 'an offer cannot be read'));
    mock.timers.tick(1);
    assert.equal(asked[0]?.length, 4);
  });
});
