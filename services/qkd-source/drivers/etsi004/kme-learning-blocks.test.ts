import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type Answers,
  BETWEEN,
  CUT,
  calls,
  learner,
  mockTimers,
  NONE,
  sound,
} from '#test/helpers/kme-learner.ts';

mockTimers();

describe('the probe for blocks', () => {
  const only = { connection: 'per-call' };

  it('opens a stream for a block, and takes one key of two secrets from another', async () => {
    const { learning, learn, seen, state, said } = learner(sound(), only);
    await learn();
    assert.equal(seen.length, 0, 'between which nodes?');
    assert.equal(learning.blockBytes, 0);
    await learn(BETWEEN);
    assert.equal(learning.blockBytes, 512);
    assert.deepEqual(calls(seen), [
      'OPEN_CONNECT 512',
      'CLOSE kme-512',
      'OPEN_CONNECT 64',
      'GET_KEY kme-64',
      'CLOSE kme-64',
    ]);
    const [open, sample] = seen.flat().filter(({ command }) => command === 'OPEN_CONNECT');
    assert.equal(open?.data.source, 'qkd://keyweave-probe-512@node-a');
    assert.equal(open.data.destination, 'qkd://keyweave-probe-512@node-b');
    assert.equal(sample?.data.source, 'qkd://keyweave-probe-64@node-a');
    assert.equal(open.data.qos.timeout, 700, 'the key manager gives up before the probe does');
    assert.equal(said(/gives blocks/), 1);
    state.nowMs += 3_600_000;
    await learn(BETWEEN);
    assert.equal(seen.length, 5, 'once');
  });

  it('is for as many keys as the configuration says, and for no single ones', async () => {
    const four = learner(sound(), { ...only, block_keys: 4 });
    await four.learn(BETWEEN);
    assert.equal(four.learning.blockBytes, 128);
    const single = learner(sound(), { ...only, block_keys: 1 });
    await single.learn(BETWEEN);
    assert.equal(single.seen.length, 0);
  });

  it('goes on between the two nodes that were named last', async () => {
    const { learning, learn, seen, state } = learner(() => [NONE], only);
    await learn({ ...BETWEEN, destinationNode: 'node-c' });
    await learn(BETWEEN);
    state.answers = sound();
    state.nowMs += 60_000;
    await learn();
    assert.equal(learning.blockBytes, 512);
    assert.match(String(seen.at(-3)?.[0]?.data.destination), /@node-b$/);
  });

  it('knows single keys where a stream is refused for its size, or opened for another', async () => {
    const refusals: [string, object][] = [
      ['refused', { status: 7 }],
      ['adjusted', { status: 7, key_stream_id: 'k', qos: { key_chunk_size: 32 } }],
      ['opened for another size', { status: 0, key_stream_id: 'k', qos: { key_chunk_size: 32 } }],
    ];
    for (const [what, refusal] of refusals) {
      for (const bytes of [512, 64]) {
        const rest = sound();
        const { learning, learn, seen, state, said } = learner(
          (requests) => (requests[0]?.data.qos?.key_chunk_size === bytes ? [refusal] : rest(requests)),
          only,
        );
        await learn(BETWEEN);
        assert.equal(said(new RegExp(`single keys: .*${bytes}-byte`)), 1, `${what}, ${bytes}`);
        assert.equal(calls(seen).includes('CLOSE k'), 'key_stream_id' in refusal, 'what is open is closed');
        assert.equal(
          calls(seen).some((call) => call.startsWith('GET_KEY')),
          false,
        );
        state.nowMs += 3_600_000;
        const before = seen.length;
        await learn(BETWEEN);
        assert.deepEqual([seen.length, learning.blockBytes], [before, 0], 'it is known');
      }
    }
  });

  it('takes the agreed size for granted where the key manager names it, or none', async () => {
    const rest = sound();
    const { learning, learn } = learner((requests) => {
      const qos = requests[0]?.data.qos;
      const [answer] = rest(requests) as object[];
      return [qos ? { ...answer, qos: { key_chunk_size: qos.key_chunk_size } } : answer];
    }, only);
    await learn(BETWEEN);
    assert.equal(learning.blockBytes, 512);
  });

  it('tries again after another refusal, or where nothing was answered', async () => {
    for (const answer of [{ status: 5 }, { status: 0 }, NONE, CUT]) {
      for (const bytes of [512, 64]) {
        const rest = sound();
        let isOdd = true;
        const { learning, learn, state, said } = learner(
          (requests) =>
            isOdd && requests[0]?.data.qos?.key_chunk_size === bytes ? [answer] : rest(requests),
          only,
        );
        await learn(BETWEEN);
        assert.deepEqual([learning.blockBytes, said(/./)], [0, 0]);
        isOdd = false;
        await learn(BETWEEN);
        assert.equal(learning.blockBytes, 0, 'not before the pause is over');
        state.nowMs += 60_000;
        await learn(BETWEEN);
        assert.equal(learning.blockBytes, 512);
      }
    }
  });

  it('knows single keys where the sample has another size, and wipes it', async () => {
    for (const size of [32, 63, 65]) {
      const rest = sound();
      const key = new Array(size).fill(7);
      const { learning, learn, seen, said } = learner(
        (requests) =>
          requests[0]?.command === 'GET_KEY' ? [{ status: 0, key_buffer: key }] : rest(requests),
        only,
      );
      await learn(BETWEEN);
      assert.deepEqual([learning.blockBytes, said(/single keys: .*64 bytes/)], [0, 1]);
      assert.ok(key.every((byte) => byte === 0));
      assert.equal(calls(seen).at(-1), 'CLOSE kme-64');
    }
  });

  it('asks a few times for the sample while the other end has not come', async () => {
    const rest = sound();
    let dry = 3;
    const late: Answers = (requests) =>
      requests[0]?.command === 'GET_KEY' && dry-- > 0 ? [{ status: 2 }] : rest(requests);
    const { learning, learn, seen } = learner(late, only);
    const tookMs = await learn(BETWEEN);
    assert.equal(learning.blockBytes, 512);
    assert.ok(tookMs >= 300 && tookMs <= 450, `${tookMs} ms`);
    assert.deepEqual(
      new Set(
        seen
          .flat()
          .filter(({ command }) => command === 'GET_KEY')
          .map(({ data }) => data.index),
      ),
      new Set([0]),
    );
    const never = learner(
      (requests) => (requests[0]?.command === 'GET_KEY' ? [{ status: 2 }] : rest(requests)),
      only,
    );
    await never.learn(BETWEEN);
    assert.equal(calls(never.seen).filter((call) => call.startsWith('GET_KEY')).length, 8);
    assert.equal(calls(never.seen).at(-1), 'CLOSE kme-64');
    assert.deepEqual([never.learning.blockBytes, never.said(/./)], [0, 0]);
  });

  it('gives up after two samples whose answer is lost, since a key may go with each', async () => {
    const rest = sound();
    const { learning, learn, seen, state, said } = learner(
      (requests) => (requests[0]?.command === 'GET_KEY' ? [CUT] : rest(requests)),
      only,
    );
    for (let i = 0; i < 4; i++) {
      await learn(BETWEEN);
      state.nowMs += 3_600_000;
    }
    assert.equal(calls(seen).filter((call) => call.startsWith('GET_KEY')).length, 2);
    assert.deepEqual([learning.blockBytes, said(/single keys/)], [0, 1]);
  });

  it('counts no attempt where the key manager goes away in the middle', async () => {
    for (const from of [1, 3, 4]) {
      const { learning, learn, state } = learner(sound(), only);
      const { answers } = state;
      let nth = 0;
      state.answers = (requests) => {
        // The call behind this one finds nobody.
        state.reachable = ++nth < from;
        return answers(requests);
      };
      await learn(BETWEEN);
      if (from < 4) assert.equal(learning.blockBytes, 0, `${from}`);
      state.reachable = true;
      state.answers = answers;
      state.nowMs += 2_000;
      await learn(BETWEEN);
      assert.equal(learning.blockBytes, 512, `${from}`);
    }
  });

  it('forgets blocks when one is refused later, and is not moved by single keys', async () => {
    const { learning, learn, said } = learner(sound(), only);
    learning.refusedBlock(512);
    assert.equal(said(/./), 0);
    await learn(BETWEEN);
    learning.refusedBlock(32);
    assert.equal(learning.blockBytes, 512);
    learning.refusedBlock(33);
    assert.equal(learning.blockBytes, 0);
    assert.equal(said(/does not give a block/), 1);
  });
});
