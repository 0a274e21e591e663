import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { keyStream } from '#test/helpers/streams.ts';
import { noRoom, pauseForRoom } from './no-room.ts';

describe('an end that is full', () => {
  it('says how many keys it holds', () => {
    const stream = keyStream();
    stream.release(0, Buffer.alloc(3 * 32), false);
    const error = noRoom(stream);
    assert.ok(isReason(error, 'NO_ROOM'));
    assert.match(error.message, /holds 3 unread keys/);
  });

  it('is asked soon, then ever less often, and never less than once a second', () => {
    assert.deepEqual([1, 2, 3, 4, 5, 6, 7].map(pauseForRoom), [50, 100, 200, 400, 800, 1_000, 1_000]);
    for (const times of [100, 5_000]) assert.equal(pauseForRoom(times), 1_000);
  });
});
