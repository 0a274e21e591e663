import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { LONGEST_TIMER_MS, systemClock } from '#common/time/clock.ts';

const { after } = systemClock;

const DAY_MS = 86_400_000;

describe('a timer of the clock', () => {
  let fired: number;
  let passedMs: number;
  const pass = (ms: number) => {
    passedMs += ms;
    mock.timers.tick(ms);
  };
  const noteTime = () => {
    fired = passedMs;
  };

  beforeEach(() => {
    fired = -1;
    passedMs = 0;
    mock.timers.reset();
    mock.timers.enable({ apis: ['setTimeout'] });
  });

  for (const ms of [0, 1, 10_000, LONGEST_TIMER_MS, LONGEST_TIMER_MS + 1, 60 * DAY_MS, 49_710 * DAY_MS]) {
    it(`fires once, after ${ms} ms`, () => {
      after(ms, noteTime);
      for (let left = ms; left > 0; left -= LONGEST_TIMER_MS) {
        assert.equal(fired, -1, 'too early');
        pass(Math.min(left, LONGEST_TIMER_MS));
      }
      if (ms === 0) pass(1);
      assert.ok(fired >= ms && fired <= ms + 1, `fired at ${fired}`);
      fired = -1;
      pass(LONGEST_TIMER_MS);
      assert.equal(fired, -1, 'fired twice');
    });
  }

  it('does not fire once it is cancelled, in whichever part of its time', () => {
    for (const days of [1, 30]) {
      const timer = after(60 * DAY_MS, noteTime);
      pass(days * DAY_MS);
      timer.cancel();
      pass(20 * DAY_MS);
      pass(20 * DAY_MS);
      pass(20 * DAY_MS);
      assert.equal(fired, -1);
    }
  });
});
