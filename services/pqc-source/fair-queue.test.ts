import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { FairQueue } from './fair-queue.ts';

const ALWAYS = new AbortController().signal;

/** What has begun, in order, and what ends it. */
let begun: { name: string; end: PromiseWithResolvers<void> }[];
let queue: FairQueue;

beforeEach(() => {
  begun = [];
  queue = new FairQueue({ concurrency: 2, maxWaiting: 5, maxWaitingBytes: 1_000 });
});

function run(party: string, bytes = 1, signal = ALWAYS): Promise<void> {
  return queue.run(party, bytes, signal, () => {
    const end = Promise.withResolvers<void>();
    begun.push({ name: party, end });
    return end.promise;
  });
}
const settle = () => new Promise((resolve) => setImmediate(resolve));
const names = () => begun.map(({ name }) => name).join('');

async function endAll(): Promise<void> {
  for (let i = 0; i < begun.length; i++) {
    begun[i]?.end.resolve();
    await settle();
  }
}

describe('FairQueue', () => {
  it('lets those whose work waits take turns, whatever one of them has asked for', async () => {
    const all = ['a', 'a', 'a', 'a', 'a', 'a', 'b', 'b', 'c'].map((party) => run(party));
    assert.equal(names(), 'aa');
    await endAll();
    await Promise.all(all);
    assert.equal(names(), 'aaabcabaa');
  });

  it('holds little of the work of one party, and refuses the rest at once', async () => {
    for (let i = 0; i < 7; i++) void run('a');
    await assert.rejects(
      run('a'),
      (error) => isReason(error, 'LIMIT_EXCEEDED') && /node a/.test(String(error)),
    );
    void run('b', 900);
    await assert.rejects(run('b', 101), /LIMIT_EXCEEDED/);
    void run('b', 100);
    void run('c');
    await endAll();
    assert.equal(begun.length, 10);
    void run('a');
    assert.equal(begun.length, 11, 'a place was lost');
  });

  it('leaves out what nobody waits for any more, and goes on after what fails', async () => {
    const gone = new AbortController();
    const first = run('a');
    void run('a');
    const dropped = run('b', 1, gone.signal);
    void run('c');
    gone.abort();
    begun[0]?.end.reject(new Error('as the test says'));
    await assert.rejects(first, /as the test says/);
    await assert.rejects(dropped, /nobody waits/);
    await settle();
    assert.equal(names(), 'aac');
  });
});
