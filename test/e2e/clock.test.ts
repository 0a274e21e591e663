import assert from 'node:assert/strict';
import { after, beforeEach, describe, it } from 'node:test';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { eventually, keyOf, openData, openPair, type Pair, twoNodes } from '../helpers/network.ts';
import { startNodeClock } from '../helpers/node-clock.ts';

const HOUR_MS = 3_600_000;

/** Ten keys of 256 bits a second. */
const RATE = { max_bps: 2_560, min_bps: 0, timeout: 5_000 };

const STEPS = [
  ['10 minutes back', -HOUR_MS / 6],
  ['an hour back', -HOUR_MS],
  ['an hour ahead', HOUR_MS],
] as const;

const NO_STREAM = '00000000-0000-4000-8000-000000000000';

const clock = startNodeClock();
const { network, alice, bob } = await twoNodes({
  config: () => ({ qkd: { timeout: '300ms' } }),
  // The nodes start in the past, and the CA must be good there.
  caMadeMs: Date.now() - 12 * HOUR_MS,
});

beforeEach(() => clock.set(0));
after(() => clock.stop());

/** Reads `count` keys at both ends; how long the slowest took, and the greatest `age` that was told. */
async function read(pair: Pair, count: number): Promise<{ slowestMs: number; oldestMs: number }> {
  let slowestMs = 0;
  let oldestMs = 0;
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
    slowestMs = Math.max(slowestMs, performance.now() - started);
    assert.deepEqual(keyOf(a), keyOf(b));
    for (const { metadata } of [a, b]) {
      const { age } = JSON.parse(metadata?.buffer ?? '{}') as { age: number };
      assert.ok(Number.isSafeInteger(age) && age >= 0, `age ${age}`);
      oldestMs = Math.max(oldestMs, age);
    }
  }
  return { slowestMs, oldestMs };
}

describe('a wall clock that is set (invariant 7)', () => {
  for (const [what, shiftMs] of STEPS) {
    it(`${what}: no stream waits for it, and no key seems older`, async () => {
      const limited = await openPair(network, openData(alice, bob, undefined, RATE));
      const free = await openPair(network, openData(alice, bob, undefined, { timeout: 5_000 }));
      await Promise.all([read(limited, 12), read(free, 20)]);
      clock.set(shiftMs);
      for (const { slowestMs, oldestMs } of await Promise.all([read(limited, 12), read(free, 40)])) {
        assert.ok(slowestMs < 2_500, `a GET_KEY took ${Math.round(slowestMs)} ms`);
        assert.ok(oldestMs < 60_000, `a key is said to be ${oldestMs} ms old`);
      }
      const fresh = await openPair(network, openData(alice, bob, undefined, RATE));
      assert.equal(fresh.opened[0].status, 0, fresh.opened[0].message);
      await read(fresh, 3);
      await Promise.all([limited, free, fresh].map((pair) => pair.close()));
    });

    it(`${what}: an OPEN_CONNECT that waits is answered when its time is over, at either end`, async () => {
      // From here on both nodes know their KEMs, so that what they are asked next is under way at once.
      await (await openPair(network, openData(alice, bob))).close();
      for (const node of network.nodes) {
        clock.set(0);
        const [client, other] = await Promise.all([
          Etsi004Client.connect(node.json),
          Etsi004Client.connect(node.json),
        ]);
        const started = performance.now();
        const opening = client.open(openData(alice, bob, undefined, { timeout: 2_000 }));
        // Any answer of the node: by then it has read what was sent before.
        await other.close(NO_STREAM);
        clock.set(shiftMs);
        const limit = new Promise<undefined>((resolve) => setTimeout(resolve, 6_000, undefined).unref());
        const answer = await Promise.race([opening, limit]);
        const tookMs = Math.round(performance.now() - started);
        client.disconnect();
        other.disconnect();
        assert.ok(answer, `${node.name} did not answer within 6 s`);
        assert.equal(answer.status, 6, `${node.name}: ${answer.message}`);
        assert.ok(tookMs > 1_900, `${node.name} answered after ${tookMs} ms: ${answer.message}`);
      }
    });

    it(`${what}: production that paused after a failure goes on`, async () => {
      const pair = await openPair(network, openData(alice, bob, undefined, { timeout: 3_000 }));
      await read(pair, 1);
      await network.kme.stopEnd(1);
      try {
        await eventually('the stream fails', 10_000, async () => {
          const { status } = await pair.a.getKey(pair.ksid);
          return status === 0 ? undefined : status;
        });
        clock.set(shiftMs);
      } finally {
        await network.kme.startEnd(1);
      }
      const key = await eventually('a key after the failure', 4_000, async () => {
        const answer = await pair.a.getKey(pair.ksid);
        return answer.status === 0 ? answer : undefined;
      });
      assert.equal(keyOf(key).length, 32);
      await pair.close();
    });
  }
});
