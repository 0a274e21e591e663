import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { CallTurns } from '#common/limits/call-turns.ts';

let calls: PromiseWithResolvers<string>[];
let turns: CallTurns;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  calls = [];
  turns = new CallTurns(2);
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

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

  it('leaves no timer behind once a turn has come', async () => {
    mock.timers.reset();
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    const all = [run(60_000), run(60_000), run(60_000)];
    assert.equal(timers(), before + 1);
    calls[0]?.resolve('a');
    await settle();
    assert.equal(timers(), before);
    for (const call of calls) call.resolve('z');
    await Promise.all(all);
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

  it('gives a call at once all of its time, and one that has waited what is left of it', async () => {
    let nowMs = 1_000;
    mock.method(performance, 'now', () => nowMs);
    const given: number[] = [];
    const timed = (timeoutMs: number, call: Promise<string>) =>
      turns.run(timeoutMs, (leftMs) => {
        given.push(leftMs);
        return call;
      });
    const held = Promise.withResolvers<string>();
    const all = [timed(500, held.promise), timed(600, held.promise), timed(700, held.promise)];
    const short = timed(100, held.promise);
    await settle();
    nowMs += 150;
    held.resolve('a');
    await Promise.all([...all, short]);
    assert.deepEqual(given, [500, 600, 550, 1]);
  });

  it('runs the waiting ones in the order in which they came', async () => {
    const order: number[] = [];
    const held = Promise.withResolvers<void>();
    const all = Array.from({ length: 6 }, (_, i) =>
      turns.run(1_000, () => {
        order.push(i);
        return held.promise;
      }),
    );
    held.resolve();
    await Promise.all(all);
    assert.deepEqual(order, [0, 1, 2, 3, 4, 5]);
  });

  it('gives no turn away to a call that has given up, however many have', async () => {
    void run();
    void run();
    const late = Array.from({ length: 5 }, () => assert.rejects(run(100), /2 calls like this unanswered/));
    mock.timers.tick(100);
    await Promise.all(late);
    for (const call of calls) call.resolve('z');
    await settle();
    assert.equal(calls.length, 2);
    void run();
    void run();
    assert.equal(calls.length, 4, 'both places are free');
  });

  it('gives a call that throws at once no place for ever', async () => {
    for (let i = 0; i < 5; i++) {
      const thrown = turns.run(1_000, () => {
        throw new Error('as the test says');
      });
      await assert.rejects(thrown, /as the test says/);
    }
  });
});
