import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { CallsUnderWay } from '#common/limits/calls-under-way.ts';
import { CALL_LIMITS } from '#common/limits/message-limits.ts';

describe('CallsUnderWay', () => {
  it('refuses at once what is beyond the limit of a peer and a method, and nobody else', async () => {
    const calls = new CallsUnderWay();
    const held = Promise.withResolvers<string>();
    const most = CALL_LIMITS.produce.taken;
    const running = Array.from({ length: most }, () => calls.run('a', 'produce', () => held.promise));
    let called = false;
    await assert.rejects(
      calls.run('a', 'produce', async () => {
        called = true;
      }),
      (error) => isReason(error, 'LIMIT_EXCEEDED') && /node a/.test(String(error)),
    );
    assert.equal(called, false);
    assert.equal(await calls.run('a', 'open', async () => 'open'), 'open');
    assert.equal(await calls.run('b', 'produce', async () => 'b'), 'b');
    held.resolve('done');
    await Promise.all(running);
    assert.equal(await calls.run('a', 'produce', async () => 'again'), 'again');
  });

  it('counts no call that has failed', async () => {
    const calls = new CallsUnderWay();
    for (let i = 0; i < 2 * CALL_LIMITS.demand.taken; i++) {
      await assert.rejects(
        calls.run('a', 'demand', () => Promise.reject(new Error('lost'))),
        /lost/,
      );
    }
  });

  it('frees one place for each call that ends, and no more', async () => {
    const calls = new CallsUnderWay();
    const most = CALL_LIMITS.demand.taken;
    const begin = () => {
      const held = Promise.withResolvers<void>();
      return { held, call: calls.run('a', 'demand', () => held.promise) };
    };
    const first = Array.from({ length: most }, begin);
    // All but one end, then as many come again.
    for (const { held, call } of first.slice(1)) {
      held.resolve();
      await call;
    }
    const second = Array.from({ length: most - 1 }, begin);
    await assert.rejects(begin().call, (error) => isReason(error, 'LIMIT_EXCEEDED'));
    for (const { held } of [...first, ...second]) held.resolve();
    await Promise.all(second.map(({ call }) => call));
  });
});
