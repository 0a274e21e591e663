import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock } from '#common/time/clock.ts';
import { waitFor } from '#common/time/wait-for.ts';

const never = new Promise<never>(() => undefined);

describe('waitFor', () => {
  it('gives what comes in time, and undefined for what does not', async () => {
    assert.equal(await waitFor(Promise.resolve(5), 1_000), 5);
    assert.equal(await waitFor(never, 1), undefined);
  });

  it('ends with its signal, even one that has fired before', async () => {
    const gone = new AbortController();
    const waiting = waitFor(never, 60_000, gone.signal);
    gone.abort();
    assert.equal(await waiting, undefined);
    assert.equal(await waitFor(never, 60_000, gone.signal), undefined);
  });

  it('rejects as the work does', async () => {
    await assert.rejects(waitFor(Promise.reject(new Error('no')), 1_000), /no/);
  });

  it('never ends before its time, so that who looks at the clock then finds the time over', async () => {
    const early: string[] = [];
    const wait = async (ms: number) => {
      const started = systemClock.monotonicMs();
      await waitFor(never, ms);
      const left = started + ms - systemClock.monotonicMs();
      if (left > 0) early.push(`${left} of ${ms} ms left`);
    };
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 20 }, (_, i) => wait(2 + i / 7)));
    }
    assert.deepEqual(early, []);
  });
});
