import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import {
  asBuffer,
  assertLength,
  countPacked,
  digestPacked,
  equalBytes,
  ownCopy,
  packedItem,
  wipe,
} from '#common/crypto/bytes.ts';
import { isReason } from '#common/errors/keyweave-error.ts';

const refused = (words: RegExp) => (error: Error) => {
  assert.ok(isReason(error, 'BAD_REQUEST'), error.message);
  assert.match(error.message, words);
  return true;
};

describe('lengths', () => {
  it('are exact, and an error names what is wrong', () => {
    assertLength('tag', Buffer.alloc(32), 32);
    for (const length of [31, 33])
      assert.throws(
        () => assertLength('tag', Buffer.alloc(length), 32),
        refused(new RegExp(`tag must be 32 bytes long, not ${length}`)),
      );
  });

  it('of packed items leave no remainder', () => {
    assert.deepEqual(
      [1, 3].map((count) => countPacked('keys', Buffer.alloc(count * 8), 8)),
      [1, 3],
    );
    for (const bytes of [0, 7, 9])
      assert.throws(
        () => countPacked('keys', Buffer.alloc(bytes), 8),
        refused(new RegExp(`keys must be one or more items of 8 bytes, not ${bytes} bytes`)),
      );
  });
});

describe('packed items', () => {
  it('are views of the memory that they lie in', () => {
    const packed = Buffer.from([1, 2, 3, 4, 5, 6]);
    assert.deepEqual([...packedItem(packed, 1, 2)], [3, 4]);
    packedItem(packed, 2, 2).fill(9);
    assert.deepEqual([...packed], [1, 2, 3, 4, 9, 9]);
    const part = new Uint8Array(packed.buffer, packed.byteOffset + 1, 3);
    assert.deepEqual([...asBuffer(part)], [2, 3, 4]);
    asBuffer(part)[0] = 7;
    assert.equal(packed[1], 7);
  });

  it('are digested one by one', () => {
    const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest();
    const [one, two] = [Buffer.alloc(5, 1), Buffer.alloc(5, 2)];
    assert.deepEqual(digestPacked(Buffer.concat([one, two]), 5), Buffer.concat([sha256(one), sha256(two)]));
    assert.equal(digestPacked(Buffer.alloc(0), 0).length, 0);
  });
});

describe('ownCopy', () => {
  it('joins its parts in memory that nothing else lies in', () => {
    const parts = [Buffer.from([1, 2]), Buffer.alloc(0), Buffer.from([3])];
    const copy = ownCopy(...parts);
    assert.deepEqual([...copy], [1, 2, 3]);
    assert.equal(copy.buffer.byteLength, 3);
    parts[0]?.fill(9);
    assert.equal(copy[0], 1);
  });
});

describe('equalBytes', () => {
  it('is true of the same bytes only', () => {
    const [a, b] = [Buffer.from('same'), Buffer.from('same')];
    assert.equal(equalBytes(a, b), true);
    assert.equal(equalBytes(a, Buffer.from('sane')), false);
    assert.equal(equalBytes(a, Buffer.from('sam')), false);
  });
});

describe('wipe', () => {
  it('zeroes every buffer and steps over those that are not there', () => {
    const buffers = [Buffer.alloc(3, 1), undefined, Buffer.alloc(2, 2)];
    wipe(...buffers);
    assert.deepEqual(buffers, [Buffer.alloc(3), undefined, Buffer.alloc(2)]);
  });
});
