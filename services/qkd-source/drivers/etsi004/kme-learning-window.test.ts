import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  BETWEEN,
  CUT,
  learner,
  mockTimers,
  NONE,
  REFUSED,
  SECRET,
  sound,
} from '#test/helpers/kme-learner.ts';

mockTimers();

describe('the probe for requests that go together', () => {
  it('asks alone, then for many at once, then alone again, for one stream that nobody has opened', async () => {
    const { learn, window, seen, said } = learner(sound());
    assert.equal(window.isOpen, false);
    await learn();
    assert.equal(window.isOpen, true);
    assert.deepEqual(
      seen.map((piece) => piece.length),
      [1, 32, 1],
    );
    assert.equal(new Set(seen.flat().map(({ data }) => data.key_stream_id)).size, 1);
    assert.deepEqual(
      seen.flat().map(({ data }) => data.index),
      Array.from({ length: 34 }, (_, i) => i),
    );
    assert.equal(said(/takes several/), 1);
    await learn();
    assert.equal(seen.length, 3, 'once');
  });

  it('opens no window where one of the answers is another one', async () => {
    const others: [string, unknown][] = [
      ['another status', { ...REFUSED, status: 4 }],
      ['other words', { ...REFUSED, message: 'bad request' }],
      ['a key', { status: 0, key_buffer: [...SECRET] }],
      ['a key beside the refusal', { ...REFUSED, key_buffer: [...SECRET] }],
      ['nothing', NONE],
      ['the end', CUT],
      ['null', null],
    ];
    for (const [what, other] of others) {
      for (const at of [1, 32, 33]) {
        let nth = 0;
        const { learn, window, state, said } = learner((requests) =>
          requests.map(() => (nth++ === at ? other : REFUSED)),
        );
        await learn();
        assert.equal(window.isOpen, false, `${what} at ${at}`);
        assert.equal(said(/one request at a time/), 0, 'one burst may be lost');
        nth = 0;
        state.nowMs += 60_000;
        await learn();
        assert.equal(said(/takes one request at a time/), 1, `${what} at ${at}, twice`);
        state.nowMs += 3_600_000;
        const before = state.dialled;
        await learn();
        assert.equal(state.dialled, before, 'it is known');
        assert.equal(window.isOpen, false);
      }
    }
  });

  it('wipes every key that it is given', async () => {
    const keys: number[][] = [];
    const { learn } = learner((requests) =>
      requests.map((_, i) => {
        if (requests.length === 1) return REFUSED;
        keys[i] = [...SECRET];
        return { ...REFUSED, key_buffer: keys[i] };
      }),
    );
    await learn();
    assert.ok(keys[0]?.every((byte) => byte === 0));
    const alone = [...SECRET];
    const generous = learner(() => [{ status: 0, key_buffer: alone }]);
    await generous.learn();
    assert.ok(alone.every((byte) => byte === 0));
    assert.equal(generous.seen.length, 1);
    assert.equal(generous.said(/one request at a time: .*nobody has opened/), 1);
  });

  it('ends where the connection is closed after an answer', async () => {
    const { learn, state, seen, said } = learner(sound());
    state.staysOpen = false;
    await learn();
    assert.equal(seen.length, 1);
    assert.equal(said(/one request at a time: .*closes/), 1);
  });

  it('waits no longer than it may: for the first answer, and for each behind it', async () => {
    const silent = learner(() => [NONE]);
    assert.ok((await silent.learn()) <= 850);
    assert.ok(silent.said(/./) === 0);
    let nth = 0;
    const stuck = learner((requests) => requests.map(() => (nth++ < 3 ? REFUSED : NONE)));
    const tookMs = await stuck.learn();
    assert.ok(tookMs >= 400 && tookMs <= 450, `${tookMs} ms`);
  });

  it('says once that it has tried often enough', async () => {
    const { learn, state, said } = learner(() => [NONE]);
    for (let i = 0; i < 12; i++) {
      await learn();
      state.nowMs += 3_600_000;
    }
    assert.equal(state.dialled, 6);
    assert.equal(said(/gets one request at a time: .*did not show/), 1);
  });

  it('costs no attempt while the key manager cannot be reached', async () => {
    const { learn, state, window } = learner(sound());
    state.reachable = false;
    for (let i = 0; i < 12; i++) {
      await learn(BETWEEN);
      state.nowMs += 60_000;
    }
    assert.equal(state.dialled, 24);
    state.reachable = true;
    await learn();
    assert.equal(window.isOpen, true);
  });

  it('is not made for ever where connections fail for another reason', async () => {
    const { learn, state } = learner(sound(), { block_keys: 1 });
    state.reachable = false;
    state.failure = new Error('out of sockets');
    for (let i = 0; i < 12; i++) {
      await learn();
      state.nowMs += 3_600_000;
    }
    assert.equal(state.dialled, 6);
  });

  it('is not made where the configuration says one request at a time, or a connection for each', async () => {
    for (const change of [{ pipeline: 'off' }, { connection: 'per-call' }]) {
      const { learn, seen, window } = learner(sound(), { ...change, block_keys: 1 });
      await learn(BETWEEN);
      assert.deepEqual([seen.length, window.isOpen], [0, false], JSON.stringify(change));
    }
    const off = learner(sound(), { pipeline: 'off' });
    await off.learn(BETWEEN);
    assert.equal(off.seen.length, 0);
  });

  it('is made again, later, when answers are lost', async () => {
    const { learning, learn, window, state, said } = learner(sound());
    learning.lostAnswers();
    assert.equal(said(/./), 0, 'no requests have gone together');
    await learn();
    learning.lostAnswers();
    learning.lostAnswers();
    assert.equal(window.isOpen, false);
    assert.equal(said(/failed together/), 1);
    await learn();
    assert.equal(window.isOpen, false, 'not at once');
    state.nowMs += 60_000;
    await learn();
    assert.equal(window.isOpen, true);
  });
});
