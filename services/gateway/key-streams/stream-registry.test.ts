import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { LONGEST_TIMER_MS } from '#common/time/long-timer.ts';
import type { KeyStream } from './key-stream.ts';
import { StreamRegistry } from './stream-registry.ts';

const DAY_S = 86_400;

describe("a stream's TTL (ETSI GS QKD 004 V2.1.1, Table 2)", () => {
  let passedMs: number;
  let expiredAtS: number[];
  let registry: StreamRegistry;

  /** From one end of a longest timer to the next, since a mock's timer that follows on another begins with the step. */
  const pass = (seconds: number) => {
    const untilMs = passedMs + seconds * 1_000;
    while (passedMs < untilMs) {
      const stepMs = Math.min(untilMs - passedMs, LONGEST_TIMER_MS - (passedMs % LONGEST_TIMER_MS));
      passedMs += stepMs;
      mock.timers.tick(stepMs);
    }
  };
  const add = (ttlS: number) => registry.add({ id: `ttl-${ttlS}`, qos: { ttlS } } as KeyStream);

  beforeEach(() => {
    mock.timers.reset();
    mock.timers.enable({ apis: ['setTimeout'] });
    passedMs = 0;
    expiredAtS = [];
    registry = new StreamRegistry({ maxStreams: 10, onExpiry: () => expiredAtS.push(passedMs / 1_000) });
  });

  for (const [ttlS, livesS] of [
    [0, DAY_S],
    [60, 60],
    [60 * DAY_S, 60 * DAY_S],
    [0xffffffff, 0xffffffff],
  ] as const) {
    it(`of ${ttlS} s ends it after ${livesS} s`, () => {
      add(ttlS);
      pass(livesS - 1);
      assert.deepEqual(expiredAtS, [], 'too early');
      pass(1);
      assert.equal(expiredAtS.length, 1);
    });
  }

  it('is over with the stream', () => {
    add(60 * DAY_S);
    pass(30 * DAY_S);
    const [stream] = [...registry.all()];
    registry.remove(stream as KeyStream);
    pass(60 * DAY_S);
    assert.deepEqual(expiredAtS, []);
  });
});
