import assert from 'node:assert/strict';
import { it } from 'node:test';
import { growingPause } from './growing-pause.ts';

it('doubles a pause up to the longest, and stays there', () => {
  const pauses = [0, 1, 2, 3, 4, 5, 6, 10_000].map((times) => growingPause(times, 50, 1_000));
  assert.deepEqual(pauses, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
});
