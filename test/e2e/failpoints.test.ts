import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { askBoth, askEnd, meet } from '../helpers/asking.ts';
import { breaches, countDeliveries, type HistoryEntry } from '../helpers/delivery-history.ts';
import { eventually, openData, openPair, type Pair, twoNodes } from '../helpers/network.ts';

/** Every step of an exchange, in its order. */
const FAILPOINTS = [
  'initiator.offer',
  'initiator.produce',
  'responder.admitted',
  'responder.fetch',
  'gateway.derive',
  'responder.derived',
  'initiator.answered',
  'initiator.decapsulate',
  'initiator.fetch',
  'initiator.derive',
  'initiator.confirm',
  'responder.confirm',
  'responder.decided',
] as const;

/** The decision is known and only the release is left: nothing can fail any more but the process. */
const RELEASE = 'initiator.confirmed';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-failpoints-'));
const file = join(folder, 'failpoints');
process.env.KEYWEAVE_FAILPOINTS = file;
const { network, alice, bob } = await twoNodes();
after(() => {
  delete process.env.KEYWEAVE_FAILPOINTS;
  rmSync(folder, { recursive: true, force: true });
});

const fail = (name: string, action: string) => writeFileSync(file, `${name} ${action}\n`);
const heal = () => rmSync(file, { force: true });

/** A stream whose both ends have got keys. */
async function started(history: HistoryEntry[]): Promise<Pair> {
  const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 2_000 }));
  for (let i = 0; i < 3; i++) assert.deepEqual(await askBoth(history, pair), [0, 0]);
  return pair;
}

/** Asks until some answer is not status 0: what was confirmed before the trouble may still come. */
async function untilRefused(history: HistoryEntry[], pair: Pair): Promise<number> {
  for (let i = 0; i < 100; i++) {
    const refused = (await askBoth(history, pair)).find((status) => status !== 0);
    if (refused !== undefined) return refused;
  }
  throw new Error('the failpoint was never felt');
}

describe('a step of the exchange that fails (invariants 1 to 3)', () => {
  for (const name of FAILPOINTS) {
    it(`${name}: no two different keys, none at one end only, and keys again when it is over`, async () => {
      const history: HistoryEntry[] = [];
      const pair = await started(history);
      fail(name, 'error');
      try {
        const status = await untilRefused(history, pair);
        assert.ok([1, 2, 4, 6].includes(status), `status ${status}`);
      } finally {
        heal();
      }
      await eventually('both ends deliver again', 6_000, async () => {
        const [a, b] = await askBoth(history, pair);
        return a === 0 && b === 0 ? true : undefined;
      });
      for (let i = 0; i < 5; i++) assert.deepEqual(await askBoth(history, pair), [0, 0]);
      await meet(history, pair);
      assert.deepEqual(breaches(history, 32), []);
      assert.equal(countDeliveries(history).alone, 0, 'an end was given a key alone');
      await pair.close();
    });
  }
});

describe('a step of the exchange that is slow', () => {
  for (const name of [...FAILPOINTS, RELEASE]) {
    it(`${name}: no request fails`, async () => {
      const history: HistoryEntry[] = [];
      const pair = await started(history);
      fail(name, 'delay:150');
      for (let i = 0; i < 10; i++) assert.deepEqual(await askBoth(history, pair), [0, 0]);
      heal();
      assert.deepEqual(breaches(history, 32), []);
      await pair.close();
    });
  }
});

describe('a gateway that dies in a step of the exchange', () => {
  for (const name of [...FAILPOINTS, RELEASE]) {
    it(`${name}: the other end is answered, no two different keys, and new streams within 5 s`, async () => {
      const history: HistoryEntry[] = [];
      const pair = await started(history);
      fail(name, 'exit');
      const ask = (end: 0 | 1) => askEnd(history, pair, end).catch(() => undefined);
      let alive = true;
      for (let i = 0; i < 100 && alive; i++) {
        const statuses = await Promise.all([ask(0), ask(1)]);
        alive = statuses.every((status) => status === 0);
      }
      heal();
      assert.ok(!alive, 'the failpoint was never felt');
      await eventually('a new stream delivers', 5_000, async () => {
        const next = await openPair(network, openData(alice, bob, undefined, { timeout: 1_000 }));
        const statuses = await askBoth(history, next);
        await next.close();
        return statuses.every((status) => status === 0) ? true : undefined;
      });
      assert.deepEqual(breaches(history, 32), []);
      await pair.close().catch(() => undefined);
    });
  }
});
