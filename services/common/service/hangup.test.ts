import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, describe, it } from 'node:test';
import { heedHangup } from '#common/service/hangup.ts';

afterEach(() => process.removeAllListeners('SIGHUP'));

/** What is done at a SIGHUP, where there was a terminal at the start, and there is one now. */
async function hangUp(before: boolean, now: boolean, mayStop = true): Promise<string[]> {
  const done: string[] = [];
  let terminal = before;
  const stop = () => void done.push('stop');
  heedHangup({ reopen: () => void done.push('reopen'), ...(mayStop && { stop }) }, () => terminal);
  terminal = now;
  const heard = once(process, 'SIGHUP');
  process.kill(process.pid, 'SIGHUP');
  await heard;
  return done;
}

describe('SIGHUP', () => {
  for (const [before, now, mayStop, expected] of [
    [false, false, true, 'reopen'],
    [true, true, true, 'reopen'],
    [true, false, true, 'stop'],
    [true, false, false, 'reopen'],
  ] as const) {
    it(`with ${before ? 'a' : 'no'} terminal before and ${now ? 'one' : 'none'} now: ${expected}`, async () => {
      assert.deepEqual(await hangUp(before, now, mayStop), [expected]);
    });
  }
});
