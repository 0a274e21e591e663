import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
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
} from '#test/helpers/confirmations-bench.ts';

beforeEach(begin);
afterEach(() => mock.timers.reset());

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
});
