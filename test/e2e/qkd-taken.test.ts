import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { askBoth } from '../helpers/asking.ts';
import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import { type LocalNetwork, type LocalNode, networkFor, openData, openPair } from '../helpers/network.ts';

const KEY_BYTES = 32;

/** How applications may read their keys, and QKD bytes that may be taken at the key managers for each byte that they got. */
const HABITS: readonly [name: string, most: number, read: (habit: Habit) => Promise<void>][] = [
  [
    '40 streams of one key each',
    1.05,
    async ({ read }) => {
      for (let i = 0; i < 40; i++) await read(1);
    },
  ],
  ['one key every half second, 20 keys', 1.05, ({ read }) => read(20, 500)],
  ['a burst of 40 keys, two seconds, CLOSE', 1.3, ({ read }) => read(40, 0, 2_000)],
  ['4,000 keys as fast as possible', 1.05, ({ read }) => read(4_000)],
];

interface Habit {
  /** One stream, of which both ends read `keys`, `gapMs` apart, and close after `restMs`. */
  read(keys: number, gapMs?: number, restMs?: number): Promise<void>;
}

async function read(
  network: LocalNetwork,
  history: HistoryEntry[],
  { keys, gapMs, restMs }: { keys: number; gapMs: number; restMs: number },
): Promise<void> {
  const [alice, bob] = network.nodes as [LocalNode, LocalNode];
  const pair = await openPair(network, openData(alice, bob));
  for (let i = 0; i < keys; i++) {
    assert.deepEqual(await askBoth(history, pair), [0, 0], `key ${i}`);
    await delay(gapMs);
  }
  await delay(restMs);
  await pair.close();
}

describe('QKD key taken at the key managers for each byte that applications get', () => {
  for (const [name, most, habit] of HABITS) {
    it(`${name}: at most ${most}`, async (t) => {
      // Learning what a key manager bears takes a key or two, which is no habit of anybody.
      const network = await networkFor(t, {
        names: ['Alice', 'Bob'],
        config: () => ({ qkd: { pipeline: 'off' } }),
      });
      const history: HistoryEntry[] = [];
      await habit({
        read: (keys, gapMs = 0, restMs = 0) => read(network, history, { keys, gapMs, restMs }),
      });
      assert.deepEqual(breaches(history, KEY_BYTES), []);
      for (const [end, { deliveredBytes }] of network.kme.state().ends.entries()) {
        const delivered = history.filter((entry) => entry.end === end && entry.status === 0).length;
        const ratio = deliveredBytes / (delivered * KEY_BYTES);
        t.diagnostic(`end ${end}: ${ratio.toFixed(3)} (${deliveredBytes / KEY_BYTES} keys for ${delivered})`);
        assert.ok(delivered > 0 && ratio <= most, `end ${end} took ${ratio.toFixed(3)}`);
      }
    });
  }
});
