import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PrefetchDepth } from './prefetch-depth.ts';

describe('PrefetchDepth', () => {
  it('holds one chunk for a stream that asks now and then', () => {
    const depth = new PrefetchDepth(64);
    assert.equal(depth.shortfall(0, 0), 1);
    for (let minute = 0; minute < 10; minute++) {
      depth.noteGet(minute % 2 === 0, minute * 60_000);
      assert.equal(depth.depth, 1);
    }
    assert.equal(depth.shortfall(1, 0), 0);
  });

  it('doubles with every wait up to its cap, and forgets when idle', () => {
    const depth = new PrefetchDepth(16);
    for (let i = 0; i < 10; i++) depth.noteGet(false, i);
    assert.equal(depth.depth, 16);
    assert.equal(depth.shortfall(9, 0), 0);
    assert.equal(depth.shortfall(8, 0), 8);
    assert.equal(depth.shortfall(0, 3), 19);
    depth.noteGet(false, 60_000);
    assert.equal(depth.depth, 1);
  });

  it('makes nothing ahead where that is switched off', () => {
    const depth = new PrefetchDepth(0);
    assert.equal(depth.shortfall(0, 0), 0);
    assert.equal(depth.shortfall(0, 2), 2);
  });
});
