import assert from 'node:assert/strict';
import { it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ReadPause } from './read-pause.ts';

const NO_LINK = new KeyweaveError('QKD_UNAVAILABLE', 'no link');

it('a pause grows with each failure in a row, and tells why keys cannot be had', () => {
  const pause = new ReadPause();
  assert.deepEqual([pause.leftMs(0), pause.failures, pause.failure], [0, 0, undefined]);
  const pauses = [1, 2, 3, 4, 5, 6, 7].map(() => {
    pause.failed(10, NO_LINK);
    return pause.leftMs(10);
  });
  assert.deepEqual(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
  assert.deepEqual([pause.leftMs(1_000), pause.leftMs(2_000), pause.failure], [10, 0, NO_LINK]);
  pause.failed(3_000);
  assert.equal(pause.failure, undefined, 'it was something else this time');
  pause.succeeded();
  pause.failed(4_000, NO_LINK);
  assert.equal(pause.leftMs(4_000), 50, 'a success was forgotten');
  pause.wait(4_000, 7);
  assert.equal(pause.leftMs(4_000), 7);
});
