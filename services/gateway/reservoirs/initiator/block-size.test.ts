import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BlockSize } from './block-size.ts';

function sized(here: number, peer: number, max = 16): BlockSize {
  const size = new BlockSize(max);
  size.noteHere(here);
  size.notePeer(peer);
  return size;
}

const FAST = 1_000;

describe('BlockSize', () => {
  it('is one key until both ends are known to give blocks, and the smaller of them then', () => {
    for (const [here, peer, wanted] of [
      [0, 0, 1],
      [16, 0, 1],
      [0, 16, 1],
      [16, 16, 16],
      [16, 4, 4],
      [8, 4_000_000_000, 8],
    ] as const) {
      assert.equal(sized(here, peer).wanted(FAST, 1), wanted, `${here} here, ${peer} there`);
    }
  });

  it('is no larger than configured', () => {
    assert.equal(sized(64, 64, 8).wanted(FAST, 1), 8);
    assert.equal(sized(64, 64, 1).wanted(FAST, 1), 1);
  });

  it('is for fast links, and changes no size in between', () => {
    const size = sized(16, 16);
    assert.deepEqual(
      [160, 159, 20, 19].map((pace) => size.wanted(pace, 1)),
      [16, 1, 1, 1],
    );
    assert.deepEqual(
      [160, 159, 20, 19].map((pace) => size.wanted(pace, 16)),
      [16, 16, 16, 1],
    );
  });

  it('keeps what it knows where there is no news, and follows either end down', () => {
    const size = sized(16, 16);
    size.noteHere(0);
    size.notePeer(0);
    assert.equal(size.wanted(FAST, 1), 16);
    size.notePeer(1);
    assert.equal(size.wanted(FAST, 16), 1);
  });

  it('is one key for good once it was refused, or the key manager had no block three times', () => {
    const refused = sized(16, 16);
    refused.refuse();
    refused.noteHere(16);
    assert.equal(refused.wanted(FAST, 16), 1);
    const dry = sized(16, 16);
    for (const wanted of [16, 16, 1]) {
      dry.ranDry();
      assert.equal(dry.wanted(FAST, 16), wanted);
    }
  });
});
