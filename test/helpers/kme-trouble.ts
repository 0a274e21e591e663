import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askBoth, meet } from './asking.ts';
import { breaches, countDeliveries, type HistoryEntry } from './delivery-history.ts';
import { eventually, openData, openPair, type twoNodes } from './network.ts';

const KEY_BYTES = 32;

/** What two nodes must bear of their key managers, whatever these speak. */
export function troubleWithKeyManagers(
  name: string,
  { network, alice, bob }: Awaited<ReturnType<typeof twoNodes>>,
): void {
  describe(`trouble with key managers (invariants 1 and 2), QKD keys ${name}`, () => {
    const faults: [string, (end: number) => Promise<void>, (end: number) => Promise<void>][] = [
      ['is stopped', (end) => network.kme.stopEnd(end), (end) => network.kme.startEnd(end)],
      ...(['refuse', 'hang', 'drop', 'dry', 'wrong-key', 'repeat', 'zero'] as const).map(
        (kind): [string, (end: number) => Promise<void>, (end: number) => Promise<void>] => [
          `does ${kind}`,
          async (end) => network.kme.setFault(end, kind),
          async (end) => network.kme.setFault(end, undefined),
        ],
      ),
    ];
    for (const [what, begin, end] of faults) {
      for (const side of [0, 1]) {
        it(`when the key manager of end ${side} ${what}: no two different keys, an answer in time, and keys again after it`, async () => {
          const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 2500 }));
          const history: HistoryEntry[] = [];
          for (let i = 0; i < 5; i++) assert.deepEqual(await askBoth(history, pair), [0, 0]);
          await begin(side);
          // What was confirmed before may still come; then it must run out.
          const statuses: number[] = [];
          for (let i = 0; i < 40 && !statuses.some((status) => status !== 0); i++) {
            statuses.push(...(await askBoth(history, pair)));
          }
          assert.ok(
            statuses.some((status) => [1, 2, 4, 6].includes(status)),
            `statuses ${statuses}`,
          );
          await end(side);
          await eventually('both ends deliver again', 8000, async () => {
            const [a, b] = await askBoth(history, pair);
            return a === 0 && b === 0 ? true : undefined;
          });
          for (let i = 0; i < 10; i++) assert.deepEqual(await askBoth(history, pair), [0, 0]);
          // One end may have been refused once more than the other, which is no key lost.
          await meet(history, pair);
          assert.deepEqual(breaches(history, KEY_BYTES), []);
          assert.equal(countDeliveries(history).alone, 0, 'an end was given a key alone');
          await pair.close();
        });
      }
    }

    for (const kind of ['refuse', 'hang', 'drop', 'wrong-key'] as const) {
      it(`a single ${kind} costs no request more than time`, async () => {
        const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 5000 }));
        const history: HistoryEntry[] = [];
        for (const side of [0, 1]) {
          network.kme.setFault(side, kind, 1);
          for (let i = 0; i < 30; i++)
            assert.deepEqual(await askBoth(history, pair), [0, 0], `side ${side}, key ${i}`);
        }
        assert.deepEqual(breaches(history, KEY_BYTES), []);
        await pair.close();
      });
    }
  });
}
