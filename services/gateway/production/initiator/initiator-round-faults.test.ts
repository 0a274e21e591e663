import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { ErrorReason } from '#common/errors/status-table.ts';
import {
  calls,
  discarded,
  dropped,
  entry,
  fail,
  fails,
  KEY,
  keysOf,
  newRound,
  others,
  run,
  secrets,
} from '#test/helpers/round-bench.ts';

beforeEach(newRound);

describe('a round whose own services', () => {
  for (const [what, publicKeys, reason] of [
    ['fail', () => fail('SERVICE_UNAVAILABLE'), 'SERVICE_UNAVAILABLE'],
    ['take too long', () => fail('TIMEOUT'), 'TIMEOUT'],
  ] as [string, () => Promise<Buffer>, ErrorReason][]) {
    it(`${what} for one KEM: nothing is offered, the key pairs of the others are discarded, and the QKD keys stay`, async () => {
      const one = entry({ sources: ['ML-KEM-768', 'ML-KEM-512', 'QKD'] });
      const sound = others.publicKeys;
      others.publicKeys = (algorithm, count) =>
        algorithm === 'ML-KEM-512' ? publicKeys() : sound(algorithm, count);
      await run(one);
      await fails(one, reason);
      assert.ok(!calls.includes('produce'));
      assert.ok(discarded.includes(0));
      assert.ok(calls.includes(`drop 0 ${reason}`), `keys were burned of which nobody has heard: ${calls}`);
    });
  }

  for (const [what, decapsulate, reason] of [
    ['fail to decapsulate', () => fail('TIMEOUT'), 'TIMEOUT'],
    ['were restarted', () => fail('SERVICE_UNAVAILABLE'), 'SERVICE_UNAVAILABLE'],
  ] as [string, (made: Buffer) => Promise<Buffer>, ErrorReason][]) {
    it(`${what}: streams of that KEM fail, the others are made`, async () => {
      const [bad, good] = [entry({ first: 3, sources: ['ML-KEM-512', 'QKD'] }), entry({ first: 8 })];
      others.decapsulate = async (algorithm, made) => {
        if (algorithm !== 'ML-KEM-512') return made;
        secrets.splice(secrets.indexOf(made), 1);
        const given = await decapsulate(made);
        secrets.push(given);
        return given;
      };
      await run(bad, good);
      await fails(bad, reason);
      assert.deepEqual(await keysOf(good), [KEY, KEY + 1]);
      assert.deepEqual([dropped, bad.producer.made], [[3], 2]);
      assert.ok(calls.includes('use 2'));
    });
  }

  it('have lost the shared_seed: that batch fails, what it had is wiped, the others are made', async () => {
    const bad = entry({ first: 3, sources: ['QKD'], namesStandIn: true, standIn: 1 });
    const good = entry({ first: 8 });
    others.seed = undefined;
    await run(bad, good);
    await fails(bad, 'AGREEMENT_FAILED', /no shared_seed/);
    assert.deepEqual(dropped, [3]);
    assert.deepEqual(await keysOf(good), [KEY, KEY + 1]);
  });

  it('cannot derive: every batch is dropped at both ends', async () => {
    const both = [entry({ first: 3 }), entry({ first: 8 })];
    others.derive = () => fail('SERVICE_UNAVAILABLE');
    await run(...both);
    for (const one of both) await fails(one, 'SERVICE_UNAVAILABLE');
    assert.deepEqual(dropped, [3, 8]);
  });

  it('fail as the other end does that has no room: it holds the batch none the less, and is told', async () => {
    const one = entry({ first: 3 });
    others.derive = () => fail('NO_ROOM');
    await run(one);
    await fails(one, 'NO_ROOM');
    assert.deepEqual([dropped, one.producer.made], [[3], 2]);
  });

  it('fail in a way that nobody has foreseen: that batch is dropped at both ends, the others are made', async () => {
    const [bad, good] = [entry({ first: 3, standIn: 1 }), entry({ first: 8 })];
    Object.defineProperty(others, 'seed', {
      get: () => {
        throw new TypeError('as the test says');
      },
    });
    await run(bad, good);
    await fails(bad, 'INTERNAL', /see the log/);
    assert.deepEqual(await keysOf(good), [KEY, KEY + 1]);
    assert.deepEqual(dropped, [3]);
  });
});
