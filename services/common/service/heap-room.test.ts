import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { growthOf } from './heap-room.ts';

const MB = 1024 * 1024;

describe('the room of a heap', () => {
  it('is three times what lives in a small one', () => {
    assert.equal(growthOf(4 * MB), 200);
    assert.equal(growthOf(48 * MB), 200);
  });

  it('is left to the run time in a large one, which would triple by too much', () => {
    assert.equal(growthOf(48 * MB + 1), 0);
    assert.equal(growthOf(1000 * MB), 0);
  });
});
