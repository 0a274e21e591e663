import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import type { QkdStream } from '../../clients/qkd-stream.ts';
import { QkdBlocks } from './qkd-blocks.ts';

function sized(givenBlockKeys: number, maxBlockKeys = 16, blockKeys = 1) {
  const link = { givenBlockKeys, blockKeys } as QkdStream;
  return new QkdBlocks(maxBlockKeys, link);
}

const failed = (reason: ErrorReason) => new KeyweaveError(reason, 'as the test says');

describe('QkdBlocks', () => {
  it('is one key until both ends are known to give blocks', () => {
    for (const [own, peer, wanted] of [
      [0, 0, 1],
      [16, 0, 1],
      [0, 16, 1],
      [16, 16, 16],
      [16, 4, 4],
      [8, 4_000_000_000, 8],
    ] as const) {
      const size = sized(own);
      size.notePeer(peer);
      assert.equal(size.wanted(512), wanted, `${own} here, ${peer} there`);
    }
  });

  it('keeps what the other end has told when it tells nothing new', () => {
    const size = sized(16);
    size.notePeer(16);
    size.notePeer(0);
    assert.equal(size.wanted(512), 16);
  });

  it('is for fast streams, and no larger than configured', () => {
    const size = sized(64, 8, 4);
    size.notePeer(64);
    assert.deepEqual(
      [512, 32, 31, 8, 7].map((depth) => size.wanted(depth)),
      [8, 8, 4, 4, 1],
    );
  });

  it('follows the other end down to single keys', () => {
    const size = sized(16);
    size.notePeer(16);
    size.notePeer(1);
    assert.equal(size.wanted(512), 1);
  });

  it('stays what it is once a key manager has refused a stream of blocks', () => {
    const size = sized(16);
    size.notePeer(16);
    size.refuse();
    assert.equal(size.wanted(512), 1);
  });

  it('is one key for good when a key manager breaks its word, or has run dry for it three times', () => {
    for (const [reasons, blamed, wanted] of [
      [['QKD_UNAVAILABLE'], true, 1],
      [['QKD_OUT_OF_STEP'], true, 1],
      [['INSUFFICIENT_KEY', 'INSUFFICIENT_KEY'], true, 16],
      [['INSUFFICIENT_KEY', 'INSUFFICIENT_KEY', 'INSUFFICIENT_KEY'], true, 1],
      [['AGREEMENT_FAILED'], false, 16],
      [['SOURCE_FAULT'], false, 16],
      [['PEER_UNREACHABLE'], false, 16],
    ] as const) {
      const size = sized(16);
      size.notePeer(16);
      for (const reason of reasons) assert.equal(size.isBlamedFor(failed(reason)), blamed, reason);
      assert.equal(size.wanted(512), wanted, reasons.join());
    }
  });
});
