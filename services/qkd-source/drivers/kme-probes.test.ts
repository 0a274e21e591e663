import assert from 'node:assert/strict';
import { syncBuiltinESMExports } from 'node:module';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { KmeConnections } from './kme-connections.ts';
import { KmeLearning } from './kme-learning.ts';
import { PipelineWindow } from './pipeline-window.ts';

const BETWEEN = { sourceNode: 'node-a', destinationNode: 'node-b' };
const REFUSED = { status: 3, message: 'unknown stream' };
const SECRET = Array.from({ length: 64 }, (_, i) => i + 1);
/** An answer that never comes. */
const NONE = Symbol();
/** The connection ends instead. */
const CUT = Symbol();

interface Request {
  readonly command: string;
  readonly data: {
    readonly key_stream_id: string;
    readonly index: number;
    readonly source: string;
    readonly destination: string;
    readonly qos: { readonly key_chunk_size: number; readonly timeout: number };
  };
}

/** What the key manager answers to the requests of one piece, in order. */
type Answers = (requests: readonly Request[]) => readonly unknown[];

/** Refuses streams that nobody has opened, and gives keys of whatever size to those that somebody has. */
function sound(): Answers {
  const open = new Set<string>();
  return (requests) =>
    requests.map(({ command, data }) => {
      if (command === 'OPEN_CONNECT') {
        const handle = `kme-${data.qos.key_chunk_size}`;
        open.add(handle);
        return { status: 0, key_stream_id: handle };
      }
      if (command === 'CLOSE') return { status: open.delete(data.key_stream_id) ? 0 : 5 };
      return open.has(data.key_stream_id) ? { status: 0, key_buffer: [...SECRET] } : REFUSED;
    });
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  // For the pauses that come from node:timers/promises.
  syncBuiltinESMExports();
});
afterEach(() => {
  mock.timers.reset();
  syncBuiltinESMExports();
});

/** A learner, and a key manager of the test's own behind connections that are none. */
function learner(answers: Answers, change: object = {}) {
  const seen: Request[][] = [];
  const lines: { message: string; why: unknown }[] = [];
  const state = {
    answers,
    failure: new KeyweaveError('QKD_UNAVAILABLE', 'as the test says') as Error,
    reachable: true,
    staysOpen: true,
    open: 0,
    dialled: 0,
    nowMs: 0,
  };
  const window = new PipelineWindow();
  const connection = () => ({
    requestTogether: (payloads: readonly Buffer[]) => {
      const requests = payloads.map((payload) => JSON.parse(payload.toString()) as Request);
      seen.push(requests);
      const given = state.answers(requests);
      return requests.map((_, i) => {
        if (given[i] === NONE || i >= given.length) return new Promise(() => undefined);
        return given[i] === CUT ? Promise.reject(new Error('cut')) : Promise.resolve(given[i]);
      });
    },
    destroy: () => {
      state.open -= 1;
    },
  });
  const connections = {
    window,
    fresh: async () => {
      state.dialled += 1;
      if (!state.reachable) throw state.failure;
      state.open += 1;
      return connection();
    },
    staysOpen: async () => state.staysOpen,
  } as unknown as KmeConnections;
  const said = (message: string, fields: { why?: unknown } = {}) =>
    void lines.push({ message, why: fields.why });
  const settings = nodeConfigSchema.shape.qkd.parse(change);
  const learning = new KmeLearning({
    connections,
    settings,
    log: { ...silentLog, info: said, warning: said },
    now: () => state.nowMs,
  });
  /** Lets the timers of a probe run out, 50 ms at a time. */
  const learn = async (between?: typeof BETWEEN) => {
    let isDone = false;
    let tookMs = 0;
    const done = learning.learn(between).then(() => {
      isDone = true;
    });
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (isDone) break;
      mock.timers.tick(50);
      tookMs += 50;
    }
    await done;
    assert.equal(state.open, 0, 'a connection of a probe was left open');
    return tookMs;
  };
  const said1 = (words: RegExp) =>
    lines.filter(({ message, why }) => words.test(`${message}: ${String(why)}`)).length;
  return { learning, learn, window, seen, lines, state, said: said1 };
}

/** The requests of the pieces that were sent, by command and size. */
const calls = (seen: readonly (readonly Request[])[]) =>
  seen.flat().map(({ command, data }) => `${command} ${data.qos?.key_chunk_size ?? data.key_stream_id}`);

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
