import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DigestMemory } from './digest-memory.ts';

describe('DigestMemory', () => {
  it('remembers the last ones at least, and twice as many at most', () => {
    const memory = new DigestMemory(1024);
    for (let i = 0; i < 10_000; i++) {
      assert.equal(memory.add(i, i * 7), false, `${i} is new`);
      for (const back of [0, 1, 500, 1023]) {
        if (i >= back) assert.equal(memory.add(i - back, (i - back) * 7), true, `${i}: ${back} before`);
      }
    }
    assert.equal(memory.add(10_000 - 2049, (10_000 - 2049) * 7), false, 'what is older is forgotten');
    assert.ok(memory.bytes <= 1024 * 32, `${memory.bytes} bytes`);
    assert.ok(memory.bytes > 1024 * 16, 'both generations count');
  });

  it('takes little while little is in it', () => {
    assert.ok(new DigestMemory(4096).bytes <= 512);
  });

  it('tells digests apart that share a half, and knows zeros', () => {
    const memory = new DigestMemory(64);
    const digests = [
      [0, 0],
      [0, 5],
      [5, 0],
      [0, 7],
      [1, 7],
      [5, 5],
      [0xffffffff, 5],
    ] as const;
    for (const [high, low] of digests) assert.equal(memory.add(high, low), false, `${high} ${low}`);
    for (const [high, low] of digests) assert.equal(memory.add(high, low), true, `${high} ${low}`);
  });
});
