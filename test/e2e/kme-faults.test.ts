import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askBoth } from '../helpers/asking.ts';
import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import { troubleWithKeyManagers } from '../helpers/kme-trouble.ts';
import { eventually, type LocalNode, networkFor, openData, openPair, twoNodes } from '../helpers/network.ts';

const KEY_BYTES = 32;

/** Whether the streams of two nodes share their QKD keys: trouble must be borne either way. */
const SHARING = ['link', 'stream'] as const;

const networks = await Promise.all(
  SHARING.map((sharing) => twoNodes({ config: () => ({ qkd: { timeout: '400ms', sharing } }) })),
);

for (const [i, network] of networks.entries()) troubleWithKeyManagers(`by ${SHARING[i]}`, network);

describe('simple key managers', () => {
  it('one that takes what arrives together for one request slows no GET_KEY of a fast stream', async (t) => {
    const simple = await networkFor(t, { names: ['Alice', 'Bob'], kme: { habit: 'read-once' } });
    const [a, b] = simple.nodes as [LocalNode, LocalNode];
    const history: HistoryEntry[] = [];
    // A second stream begins while the first is at its fastest.
    for (const keys of [600, 200]) {
      const pair = await openPair(simple, openData(a, b));
      for (let i = 0; i < keys; i++) await askBoth(history, pair);
      await pair.close();
    }
    const slowest = Math.max(...history.map(({ sentMs, answeredMs }) => answeredMs - sentMs));
    const refused = history.filter(({ status }) => status !== 0);
    t.diagnostic(`slowest of ${history.length} GET_KEYs ${slowest} ms, ${refused.length} refused`);
    assert.deepEqual(refused, []);
    assert.deepEqual(breaches(history, KEY_BYTES), []);
    assert.ok(slowest < 1500, `the slowest GET_KEY took ${slowest} ms`);
  });

  for (const [kind, words] of [
    ['repeat', /gave a key that it had given before/],
    ['zero', /gave a key of zeros/],
  ] as const) {
    it(`no key is woven of what a key manager gives by ${kind}`, async (t) => {
      const broken = await networkFor(t, { names: ['Alice', 'Bob'] });
      const [a, b] = broken.nodes as [LocalNode, LocalNode];
      for (const end of [0, 1]) broken.kme.setFault(end, kind);
      const pair = await openPair(broken, openData(a, b, undefined, { timeout: 6000 }));
      const history: HistoryEntry[] = [];
      for (let i = 0; i < 5; i++) await askBoth(history, pair);
      const served = history.filter(({ status }) => status === 0).length;
      t.diagnostic(`${served} of ${history.length} served`);
      // The first key of a key manager that repeats is as good as any.
      assert.ok(served <= (kind === 'repeat' ? 2 : 0), `${served} GET_KEYs were served`);
      for (const { status, message } of history.filter((entry) => entry.status !== 0)) {
        assert.equal(status, 4, message);
        assert.match(message, words);
      }
      for (const end of [0, 1]) broken.kme.setFault(end, undefined);
      await eventually('both ends deliver again', 8000, async () => {
        const [atA, atB] = await askBoth(history, pair);
        return atA === 0 && atB === 0 ? true : undefined;
      });
      assert.deepEqual(breaches(history, KEY_BYTES), []);
      await pair.close();
    });
  }
});
