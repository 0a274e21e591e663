import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { CallTurns } from './call-turns.ts';

let calls: PromiseWithResolvers<string>[];
let turns: CallTurns;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  calls = [];
  turns = new CallTurns(2);
});
afterEach(() => mock.timers.reset());

const run = (timeoutMs = 1_000) =>
  turns.run(timeoutMs, () => {
    const call = Promise.withResolvers<string>();
    calls.push(call);
    return call.promise;
  });
const settle = async () => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

describe('CallTurns', () => {
  it('has so many calls under way and starts the next as one ends, well or not', async () => {
    const all = [run(), run(), run(), run()];
    assert.equal(calls.length, 2);
    calls[0]?.resolve('a');
    assert.equal(await all[0], 'a');
    await settle();
    assert.equal(calls.length, 3);
    calls[1]?.reject(new Error('lost'));
    await assert.rejects(all[1] as Promise<string>, /lost/);
    await settle();
    assert.equal(calls.length, 4);
    for (const call of calls) call.resolve('z');
    await Promise.all([all[2], all[3]]);
    void run();
    void run();
    void run();
    assert.equal(calls.length, 6, 'a place was lost, or given twice');
  });

  it('ends the wait for a turn in words, and passes over who no longer waits', async () => {
    void run();
    void run();
    const late = run(500);
    const patient = run(10_000);
    mock.timers.tick(500);
    await assert.rejects(late, (error) => isReason(error, 'TIMEOUT'));
    calls[0]?.resolve('a');
    await settle();
    assert.equal(calls.length, 3);
    calls[2]?.resolve('b');
    assert.equal(await patient, 'b');
  });
});
