import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DURATION, parseDurationMs } from '#common/time/durations.ts';

describe('parseDurationMs', () => {
  for (const [text, ms] of [
    ['0s', 0],
    ['250ms', 250],
    ['10s', 10_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['0010s', 10_000],
  ] as const) {
    it(`reads ${text} as ${ms} ms`, () => assert.equal(parseDurationMs(text), ms));
  }

  for (const text of [
    '',
    '10',
    's',
    '1.5s',
    '-1s',
    '10 s',
    '10S',
    '1d',
    '10s ',
    ' 10s',
    '1m30s',
    '1e3s',
    '١s',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseDurationMs(text), RangeError);
      assert.equal(DURATION.test(text), false);
    });
  }
});
