import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PrefetchDepth } from './prefetch-depth.ts';

function after(gets: number, gapMs: number, max = 64): PrefetchDepth {
  const depth = new PrefetchDepth(max);
  for (let i = 0; i < gets; i++) depth.noteGet(i * gapMs);
  return depth;
}

describe('PrefetchDepth', () => {
  it('holds one chunk for a stream that asks now and then', () => {
    assert.equal(new PrefetchDepth(64).shortfall(0, 0, 0), 1);
    const depth = after(10, 60_000);
    assert.equal(depth.depth, 1);
    assert.equal(depth.shortfall(1, 0, 0), 0);
  });

  it('holds what a stream asks for in ten seconds', () => {
    assert.equal(after(50, 625).depth, 16);
    assert.equal(after(50, 1).depth, 64, 'the cap');
  });

  it('grows at most twofold with each GET_KEY', () => {
    assert.deepEqual(
      [1, 2, 3, 4].map((gets) => after(gets, 1).depth),
      [1, 2, 4, 8],
    );
  });

  it('forgets when the stream has been idle', () => {
    const depth = after(50, 1);
    depth.noteGet(100_000);
    assert.equal(depth.depth, 1);
  });

  it('refills a deep stream in steps, and streams of another spread at another time', () => {
    const lowest = (spread: number) => {
      const depth = new PrefetchDepth(256, spread);
      for (let i = 0; i < 50; i++) depth.noteGet(i);
      let there = 256;
      while (depth.shortfall(there, 0, 50) === 0) there -= 1;
      return { there, step: depth.shortfall(there, 0, 50) };
    };
    assert.deepEqual(lowest(0), { there: 192, step: 64 }, 'a step, not half of it');
    const small = (spread: number) => {
      const depth = new PrefetchDepth(64, spread);
      for (let i = 0; i < 50; i++) depth.noteGet(i);
      return [...Array(65).keys()].findLast((there) => depth.shortfall(there, 0, 50) > 0);
    };
    assert.deepEqual([0, 0.1, 0.2, 0.9].map(small), [32, 35, 38, 38], 'none later than at 0.6 of its depth');
  });

  it('asks for the depth once enough of it is used up, and for those who wait at once', () => {
    const depth = after(50, 625);
    assert.equal(depth.shortfall(5, 0, 0), 0);
    assert.equal(depth.shortfall(4, 0, 0), 12);
    assert.equal(depth.shortfall(4, 0, 0, 0.25), 0);
    const fast = after(50, 1);
    assert.deepEqual([fast.shortfall(33, 0, 0), fast.shortfall(32, 0, 0)], [0, 32]);
    assert.equal(depth.shortfall(0, 3, 0), 19);
  });

  it('counts what is on its way, and makes nothing ahead for a while after a source ran low', () => {
    const depth = after(50, 625);
    assert.equal(depth.shortfall(20, 3, 0), 0);
    assert.equal(depth.shortfall(7, 3, 0), 12);
    depth.noteScarcity(1_000);
    assert.equal(depth.shortfall(0, 0, 2_000), 0);
    assert.equal(depth.shortfall(1, 3, 2_000), 2);
    assert.equal(depth.shortfall(0, 0, 3_000), 16);
  });

  it('makes nothing ahead where that is switched off', () => {
    const depth = new PrefetchDepth(0);
    assert.equal(depth.shortfall(0, 0, 0), 0);
    assert.equal(depth.shortfall(0, 2, 0), 2);
  });

  it('takes a single odd gap for what it is: a fifth of the average', () => {
    const depth = after(50, 1_000);
    assert.equal(depth.depth, 10);
    depth.noteGet(49_000 + 2_000);
    assert.equal(depth.depth, 8, '10 s in gaps of 1.2 s');
    const slower = after(50, 1_000);
    slower.noteGet(49_000 + 10_000);
    assert.equal(slower.depth, 3, 'ten seconds are no idle time yet: gaps of 2.8 s');
    slower.noteGet(59_000 + 10_001);
    assert.equal(slower.depth, 1, 'longer ones are');
    slower.noteGet(69_001 + 500);
    assert.equal(slower.depth, 1, '10 s in gaps of 8.1 s');
  });

  it('counts several GET_KEYs of one moment as a tenth of a millisecond apart', () => {
    const depth = new PrefetchDepth(100_000);
    for (let i = 0; i < 40; i++) depth.noteGet(5);
    assert.equal(depth.depth, 100_000);
  });
});

describe('PrefetchDepth of a stream whose chunks take scarce keys', () => {
  const scarce = (gets: number, gapMs: number, max = 256): PrefetchDepth => {
    const depth = new PrefetchDepth(max, 0, true);
    for (let i = 0; i < gets; i++) depth.noteGet(i * gapMs);
    return depth;
  };

  it('holds nothing before the stream is read, after one key, and where it asks now and then', () => {
    assert.deepEqual(
      [0, 1, 20].map((gets) => scarce(gets, 500).depth),
      [0, 0, 0],
    );
    assert.equal(scarce(1, 1).shortfall(0, 0, 0), 0);
  });

  it('holds one once a slow stream has long been read', () => {
    assert.deepEqual(
      [24, 25, 200].map((gets) => scarce(gets, 5_000).depth),
      [0, 1, 2],
    );
  });

  it('holds ten seconds of its pace in a small part of what was read, or a quarter of a second in a larger one', () => {
    assert.deepEqual(
      [4, 40, 160, 256, 1_000, 1_600].map((gets) => scarce(gets, 1).depth),
      [1, 10, 40, 64, 64, 64],
    );
    assert.equal(scarce(4_000, 1).depth, 160);
    assert.equal(scarce(4_000, 25).depth, 160);
    assert.equal(scarce(4_000, 1, 16).depth, 16, 'the cap');
  });

  it('holds twice as long as GET_KEYs have lately waited, which is no pace of the application', () => {
    const depth = new PrefetchDepth(256, 0, true);
    let nowMs = 0;
    for (let i = 0; i < 200; i++) {
      depth.noteGet(nowMs);
      depth.noteWaited(nowMs, nowMs + 500);
      nowMs += 595;
    }
    // 95 ms of its own between two keys, and a batch takes 500.
    assert.equal(depth.depth, 10);
  });

  it('refills early, a responder later, and says how long its chunks last', () => {
    const depth = scarce(160, 5);
    assert.equal(depth.depth, 40);
    assert.deepEqual([depth.shortfall(25, 0, 800), depth.shortfall(24, 0, 800)], [0, 16]);
    assert.deepEqual([depth.shortfall(13, 0, 800, 0.25), depth.shortfall(12, 0, 800, 0.25)], [0, 28]);
    assert.equal(Math.round(depth.lastsMs(10)), 50);
    assert.equal(after(50, 5).lastsMs(0), Number.POSITIVE_INFINITY);
  });

  it('asks for those who wait alone while keys are scarce', () => {
    const depth = scarce(160, 5);
    depth.noteScarcity(800);
    assert.deepEqual([depth.shortfall(0, 0, 900), depth.shortfall(0, 3, 900)], [0, 3]);
    assert.equal(depth.shortfall(0, 0, 2_801), 40);
  });

  it('keeps so many ready as it is told, before it is read and after, and none while there are too few', () => {
    for (const isScarce of [true, false]) {
      const depth = new PrefetchDepth(64, 0, isScarce);
      depth.keepReady(10);
      assert.equal(depth.shortfall(0, 0, 0), 10);
      assert.equal(depth.shortfall(10, 0, 0), 0);
      depth.noteGet(0);
      assert.equal(depth.shortfall(0, 0, 60_000), 10);
      depth.noteScarcity(60_000);
      assert.equal(depth.shortfall(0, 0, 60_001), 0);
    }
    const small = new PrefetchDepth(4);
    small.keepReady(10);
    assert.equal(small.shortfall(0, 0, 0), 4);
  });
});
