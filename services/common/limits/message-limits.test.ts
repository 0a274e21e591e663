import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MAX_MESSAGE_BYTES } from '#common/grpc/channel-options.ts';
import { CALL_LIMITS, type Limit, MESSAGE_LIMITS, SESSION_CALLS } from '#common/limits/message-limits.ts';

/** Bytes of one entry beside what is counted by itself, generously. */
const OVERHEAD = 256;
const TAGS = 2 * 32;

describe('limits of messages', () => {
  for (const [name, { filled, taken }] of Object.entries<Limit>({ ...MESSAGE_LIMITS, ...CALL_LIMITS })) {
    it(`${name}: what one side fills the other takes`, () =>
      assert.ok(filled <= taken, `${filled} > ${taken}`));
  }

  it('the fullest Produce and its answer fit one message', () => {
    const { offers, bytes, chunkBytes, confirmations, confirmationBytes, chunks } = MESSAGE_LIMITS;
    const request =
      Math.max(bytes.filled, chunkBytes.filled) +
      confirmationBytes.filled +
      (offers.filled + confirmations.filled) * OVERHEAD;
    assert.ok(request <= MAX_MESSAGE_BYTES, `${request} bytes`);
    const answer =
      Math.max(bytes.taken, chunkBytes.taken) +
      chunks.taken * TAGS +
      (offers.taken + confirmations.filled) * OVERHEAD;
    assert.ok(answer <= MAX_MESSAGE_BYTES, `${answer} bytes`);
  });

  it('what a responder takes of one Produce it may ask of its own services', () => {
    const { offers, deriveBatches, qkdFetches, qkdKeys, qkdBytes, cost } = MESSAGE_LIMITS;
    assert.ok(offers.taken <= deriveBatches.filled);
    assert.ok(offers.taken <= qkdFetches.filled);
    // Each fetch is of whole blocks of up to 64 keys of 32 bytes.
    assert.ok(cost.taken + 64 <= qkdKeys.filled);
    assert.ok((cost.taken + offers.taken * 64) * 32 <= qkdBytes.filled);
  });

  it('all calls of one peer together leave room in a session', () => {
    const calls = Object.values(CALL_LIMITS).reduce((sum, { taken }) => sum + taken, 0);
    assert.ok(calls < SESSION_CALLS, `${calls}`);
  });
});
