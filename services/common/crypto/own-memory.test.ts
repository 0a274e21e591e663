import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ownCopy, ownMemory } from '#common/crypto/bytes.ts';

/** Bytes that `make` takes outside of the JavaScript heap; the best of some tries, since a collection lowers the count. */
function outsideHeap(make: () => Buffer): number {
  const tries = Array.from({ length: 5 }, () => {
    const before = process.memoryUsage().arrayBuffers;
    const kept = Array.from({ length: 100 }, make);
    return (process.memoryUsage().arrayBuffers - before) / kept.length;
  });
  return Math.max(...tries);
}

describe('memory for secrets', () => {
  for (const bytes of [1, 32, 64, 65, 8_192]) {
    it(`of ${bytes} bytes is exactly that, outside of the pool and of the heap, which leaves copies behind`, () => {
      const source = Buffer.alloc(bytes, 7);
      for (const make of [() => ownMemory(bytes), () => ownCopy(source)]) {
        assert.equal(make().length, bytes);
        assert.equal(outsideHeap(make), bytes);
        assert.equal(make().buffer.byteLength, bytes);
      }
    });
  }

  it('takes copies of its parts, end to end', () => {
    const parts = [Buffer.from([1, 2]), new Uint8Array(0), Buffer.alloc(100, 3).subarray(5, 8)];
    const copy = ownCopy(...parts);
    parts[0]?.fill(0);
    assert.deepEqual([...copy], [1, 2, 3, 3, 3]);
    assert.equal(ownCopy().length, 0);
  });
});
