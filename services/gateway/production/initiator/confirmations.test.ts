import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { type Clock, systemClock } from '#common/time/clock.ts';
import type { BatchDecision, ConfirmRequest, ConfirmResponse } from '#gen/keyweave/v1/key_agreement.ts';
import { Confirmations } from './confirmations.ts';

const RELEASED: BatchDecision = { released: true, buffered: 0, failure: undefined };
const LIVING = { stopped: () => false, onLost: () => undefined };

let asked: number[][];
let answers: PromiseWithResolvers<ConfirmResponse>[];
let nowMs: number;
const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
let confirmations: Confirmations;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  asked = [];
  answers = [];
  nowMs = 0;
  const confirm = ({ confirmations }: ConfirmRequest) => {
    asked.push(confirmations.map(({ firstIndex }) => firstIndex));
    const answer = Promise.withResolvers<ConfirmResponse>();
    answers.push(answer);
    return answer.promise;
  };
  confirmations = new Confirmations({ confirm }, clock);
});
afterEach(() => mock.timers.reset());

const confirmation = (firstIndex: number, stream = 1) => ({
  keyStreamId: Buffer.alloc(16, stream),
  incarnation: Buffer.alloc(8, stream),
  firstIndex,
  count: 1,
  initiatorTags: Buffer.alloc(32),
});
const id = (stream: number) => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(stream);
  return bytes;
};
const settle = async () => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

describe('Confirmations', () => {
  it('sends what nobody waits for along with the next Produce', async () => {
    const decided = confirmations.confirm(confirmation(0), LIVING, false);
    const riders = confirmations.board();
    assert.equal(riders.confirmations.length, 1);
    mock.timers.tick(1_000);
    assert.deepEqual(asked, [], 'it was sent twice');
    riders.arrived([RELEASED]);
    await decided;
  });

  it('sends by itself what no Produce takes along, at once where somebody waits', async () => {
    const slow = confirmations.confirm(confirmation(0), LIVING, false);
    mock.timers.tick(5);
    assert.deepEqual(asked, []);
    const fast = confirmations.confirm(confirmation(0, 2), LIVING, true);
    mock.timers.tick(1);
    assert.deepEqual(asked, [[0, 0]]);
    answers[0]?.resolve({ decisions: [RELEASED, RELEASED] });
    await Promise.all([slow, fast]);
  });

  it('has one confirmation of a stream on its way at a time, in order', async () => {
    const first = confirmations.confirm(confirmation(0), LIVING, true);
    const second = confirmations.confirm(confirmation(8), LIVING, true);
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

  it('says that a batch was dropped, or in the words of the other end why it could not be asked', async () => {
    const dropped = confirmations.confirm(confirmation(0), LIVING, true);
    const unknown = confirmations.confirm(confirmation(0, 2), LIVING, true);
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
    const ended = confirmations.confirm(confirmation(0), { ...LIVING, stopped: () => stopped }, true);
    const late = confirmations.confirm(confirmation(0, 2), LIVING, true);
    mock.timers.tick(1);
    stopped = true;
    nowMs = 200_000;
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await assert.rejects(ended, /closed the stream/);
    await assert.rejects(late, /gone/);
    mock.timers.tick(10_000);
    assert.equal(asked.length, 1);
  });

  it('takes no more at a time than the other end does, and sends the rest at once', async () => {
    const most = MESSAGE_LIMITS.confirmations.filled;
    const all = Array.from({ length: 1_400 }, (_, i) =>
      confirmations.confirm({ ...confirmation(i), keyStreamId: id(i) }, LIVING, true),
    );
    const riders = confirmations.board();
    assert.equal(riders.confirmations.length, most);
    riders.arrived(riders.confirmations.map(() => RELEASED));
    let decided = most;
    for (let turn = 0; decided < all.length; turn++) {
      assert.ok(turn < 20, `only ${decided} are decided`);
      mock.timers.tick(1);
      await settle();
      for (const [i, batch] of asked.entries()) {
        assert.ok(batch.length <= most, `${batch.length} in one message`);
        answers[i]?.resolve({ decisions: batch.map(() => RELEASED) });
      }
      decided = most + asked.reduce((sum, batch) => sum + batch.length, 0);
      await settle();
    }
    await Promise.all(all);
  });

  it('keeps each message within its bytes', () => {
    const tags = Buffer.alloc(1024 * 32);
    for (let i = 0; i < 40; i++) {
      void confirmations.confirm(
        { ...confirmation(i), keyStreamId: id(i), initiatorTags: tags },
        LIVING,
        false,
      );
    }
    const { confirmations: aboard } = confirmations.board();
    const bytes = aboard.reduce((sum, { initiatorTags }) => sum + initiatorTags.length, 0);
    assert.ok(bytes <= MESSAGE_LIMITS.confirmationBytes.filled, `${bytes} bytes`);
    assert.ok(aboard.length > 10);
    assert.ok(confirmations.board().confirmations.length > 10, 'the rest waits for nothing');
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

  it('keeps few batches of a stream to be dropped, however long the other end is away', async () => {
    const kept = confirmations.confirm(confirmation(0), LIVING, false);
    for (let first = 1; first < 1_000; first++)
      confirmations.drop({ ...confirmation(0), firstIndex: first }, LIVING);
    const indexes: number[] = [];
    for (
      let riders = confirmations.board();
      riders.confirmations.length > 0;
      riders = confirmations.board()
    ) {
      indexes.push(...riders.confirmations.map(({ firstIndex }) => firstIndex));
      riders.arrived(riders.confirmations.map(() => RELEASED));
    }
    assert.deepEqual(indexes, [0, 996, 997, 998, 999]);
    await kept;
  });

  it('lets no batch to be dropped stand before one to be released, which ends it too', async () => {
    for (let first = 0; first < 3; first++)
      confirmations.drop({ ...confirmation(0), firstIndex: first }, LIVING);
    const decided = confirmations.confirm(confirmation(3), LIVING, true);
    mock.timers.tick(1);
    assert.deepEqual(asked, [[3]]);
    answers[0]?.resolve({ decisions: [RELEASED] });
    await decided;
  });

  it('has few messages under way, however many ask', async () => {
    for (let turn = 0; turn < 20; turn++) {
      void confirmations
        .confirm({ ...confirmation(turn), keyStreamId: id(turn) }, LIVING, true)
        .catch(() => undefined);
      mock.timers.tick(1);
      await settle();
    }
    assert.equal(asked.length, 4);
    answers[0]?.resolve({ decisions: [RELEASED] });
    await settle();
    mock.timers.tick(1);
    assert.equal(asked.at(-1)?.length, 16);
    void confirmations.confirm(confirmation(99), LIVING, true).catch(() => undefined);
    mock.timers.tick(1);
    assert.equal(asked.length, 5, 'one answer made room for two messages');
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
    nowMs = 1;
    const given = confirmations.confirm(confirmation(0), LIVING, true);
    mock.timers.tick(1);
    nowMs += 150_001;
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
    nowMs = 7;
    const decided = confirmations.confirm(confirmation(0), LIVING, true);
    mock.timers.tick(1);
    nowMs += 150_000;
    answers[0]?.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await settle();
    mock.timers.tick(50);
    assert.equal(asked.length, 2);
    answers[1]?.resolve({ decisions: [RELEASED] });
    await decided;
  });

  it('lets what nobody waits for linger 10 ms from the first, whoever else comes and whatever was sent', async () => {
    void confirmations.confirm(confirmation(0), LIVING, false);
    mock.timers.tick(8);
    void confirmations.confirm(confirmation(0, 2), LIVING, false);
    mock.timers.tick(2);
    assert.deepEqual(asked, [[0, 0]]);
    void confirmations.confirm(confirmation(0, 3), LIVING, false);
    mock.timers.tick(5);
    void confirmations.confirm(confirmation(0, 4), LIVING, true);
    mock.timers.tick(1);
    assert.equal(asked.length, 2);
    void confirmations.confirm(confirmation(0, 5), LIVING, false);
    mock.timers.tick(9);
    assert.equal(asked.length, 2, 'a message that had left already took it along');
    mock.timers.tick(1);
    assert.equal(asked.length, 3);
  });

  it('lets a batch to be dropped wait for a Produce, too', () => {
    confirmations.drop(confirmation(0), LIVING);
    mock.timers.tick(9);
    assert.deepEqual(asked, []);
    mock.timers.tick(1);
    assert.deepEqual(asked, [[0]]);
  });

  it('fills a message to its last byte, and sends a single one whatever its size', async () => {
    const most = MESSAGE_LIMITS.confirmationBytes.filled;
    const tags = (stream: number, bytes: number) =>
      confirmations.confirm(
        { ...confirmation(0, stream), initiatorTags: Buffer.alloc(bytes) },
        LIVING,
        false,
      );
    void tags(1, most / 2 - 48);
    void tags(2, most / 2 - 48);
    assert.equal(confirmations.board().confirmations.length, 2);
    void tags(3, most / 2 - 48);
    void tags(4, most / 2 - 47);
    assert.equal(confirmations.board().confirmations.length, 1);
    void tags(5, 2 * most);
    const rides = [confirmations.board(), confirmations.board()];
    assert.deepEqual(
      rides.map(({ confirmations }) => confirmations.length),
      [1, 1],
    );
  });

  it('lets those go first that found no place in the message before', () => {
    for (let i = 0; i < 300; i++) {
      for (const first of [i, 1_000 + i])
        void confirmations.confirm({ ...confirmation(first), keyStreamId: id(i) }, LIVING, false);
    }
    const riders = confirmations.board();
    riders.arrived(riders.confirmations.map(() => RELEASED));
    const indexes = confirmations.board().confirmations.map(({ firstIndex }) => firstIndex);
    assert.equal(indexes.length, 256);
    for (let i = 256; i < 300; i++) assert.ok(indexes.includes(i), `${i} waits behind those who came later`);
  });

  it('asks nothing for a stream that has ended meanwhile, and says so', async () => {
    let stopped = false;
    const asker = { ...LIVING, stopped: () => stopped };
    const gone = [0, 8].map((first) => confirmations.confirm(confirmation(first), asker, false));
    const next = confirmations.confirm(confirmation(16), LIVING, false);
    stopped = true;
    mock.timers.tick(10);
    assert.deepEqual(asked, [[16]]);
    for (const one of gone) await assert.rejects(one, /^KeyweaveError: UNKNOWN_STREAM: this end has closed/);
    answers[0]?.resolve({ decisions: [RELEASED] });
    await next;
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
