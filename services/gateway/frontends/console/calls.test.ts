import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import type { ConsoleAnswer } from './answers.ts';
import { ConsoleCalls } from './calls.ts';

const [OWN, PEER] = ['a', 'b'] as const;
const ADDRESS = { host: '127.0.0.2', port: 3001 };

function world() {
  const clock = new FakeClock();
  const counts = { streams: 1, joined: 1, ready: 4, coming: 2, waiting: 0, delivered: 0, made: 0 };
  let looks = 0;
  const calls = new ConsoleCalls({
    ...{ nodeUuid: OWN, clock, peers: { [OWN]: { address: ADDRESS }, [PEER]: { address: ADDRESS } } },
    streams: { now: () => ({ total: 1, shown: [], peers: new Map([[PEER, { ...counts }]]) }), refusals: [] },
    node: {
      now: { status: undefined, missing: 'off' },
      look: async () => {
        looks += 1;
      },
    },
    links: {
      balances: (['initiator', 'responder'] as const).map((role) => ({
        ...{ peer: PEER, role, held: 2, oldestAgeMs: 0, taken: 10, woven: 7, burned: new Map([['x', 1]]) },
      })),
    },
    directory: { unavailableKems: async () => new Map([['BIKE-L1', 'no engine']]) },
  });
  const ask = (since?: string): ConsoleAnswer => JSON.parse(calls.state({ since }).toString());
  return { clock, counts, calls, ask, looks: () => looks };
}

describe('what pages ask for', () => {
  it('is what the gateway knows: peers, rates between two looks, QKD keys of both roles together', async () => {
    const { clock, counts, ask } = world();
    ask();
    counts.delivered = 30;
    await clock.advance(2_000);
    const { state } = ask();
    assert.deepEqual(state.metricsMissing, 'off');
    const [peer] = state.peers;
    assert.deepEqual(
      [state.peers.length, peer?.node, peer?.address, peer?.isUp, peer?.deliveredPerSecond, peer?.ready],
      [1, PEER, '127.0.0.2:3001', null, 15, 4],
    );
    assert.deepEqual(peer?.qkd, { held: 4, taken: 20, woven: 14, burned: 2, takenPerSecond: 0 });
    const known = (name: string) => state.algorithms.find((one) => one.name === name)?.unavailable;
    assert.deepEqual([known('BIKE-L1'), known('ML-KEM-768')], ['no engine', '']);
  });

  it('is looked at once a second at most, however many ask', async () => {
    const { clock, ask, looks } = world();
    for (let i = 0; i < 50; i++) ask();
    assert.equal(looks(), 1);
    await clock.advance(1_000);
    for (let i = 0; i < 50; i++) ask();
    assert.equal(looks(), 2);
  });

  it('is looked at every few seconds where nobody asks, until it stops', async () => {
    const { clock, calls, looks } = world();
    calls.start();
    await clock.advance(5_000);
    await clock.advance(5_000);
    assert.equal(looks(), 3);
    calls.stop();
    await clock.advance(60_000);
    assert.equal(looks(), 3);
    assert.equal(clock.pending, 0);
  });

  it('has of the history what is new, and all of it where the number is none', async () => {
    const { clock, ask } = world();
    ask();
    await clock.advance(1_000);
    assert.deepEqual(
      ask().history.map(({ n, peers }) => [n, peers[PEER]]),
      [1, 2].map((n) => [n, [0, 0, 4, 2, 0, 4]]),
    );
    assert.equal(ask('1').history.length, 1);
    assert.equal(ask('2').history.length, 0);
    for (const since of ['x', '1e99', '-1']) assert.equal(ask(since).history.length, 2, since);
  });
});
