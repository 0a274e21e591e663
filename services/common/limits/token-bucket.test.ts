import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TokenBucket } from './token-bucket.ts';

describe('a token bucket', () => {
  it('holds one second of tokens, then gives them at the rate', () => {
    const bucket = new TokenBucket(4);
    for (let i = 0; i < 4; i++) {
      assert.equal(bucket.delayMs(1_000), 0);
      bucket.take(1_000);
    }
    assert.equal(bucket.delayMs(1_000), 250);
    assert.equal(bucket.delayMs(1_100), 150);
    assert.equal(bucket.delayMs(1_250), 0);
  });

  it('has those who take before their time wait one behind the other', () => {
    const bucket = new TokenBucket(1);
    const delays = [1, 2, 3].map(() => {
      const delay = bucket.delayMs(0);
      bucket.take(0);
      return delay;
    });
    assert.deepEqual(delays, [0, 1_000, 2_000]);
    bucket.refund();
    assert.equal(bucket.delayMs(0), 2_000);
  });

  it('gives more than it holds to one that finds it full, who is in debt then', () => {
    const bucket = new TokenBucket(10);
    assert.equal(bucket.delayMs(0, 50), 0);
    bucket.take(0, 50);
    assert.equal(bucket.delayMs(0), 4_100);
    assert.equal(bucket.delayMs(0, 50), 5_000);
    assert.equal(bucket.delayMs(5_000, 50), 0);
  });

  it('gives at once what a full one may, at whatever fraction of a millisecond', () => {
    for (let nowMs = 0.1; nowMs < 50_000; nowMs = nowMs * 1.01 + 0.017) {
      for (const count of [1, 7, 60, 61]) assert.equal(new TokenBucket(1).delayMs(nowMs, count), 0);
      const bucket = new TokenBucket(3);
      bucket.take(nowMs, 2);
      assert.equal(bucket.delayMs(nowMs), 0);
    }
  });

  it('saves up no more than a second, whatever was given back, and holds one token at least', () => {
    const bucket = new TokenBucket(0.5);
    bucket.refund(100);
    assert.equal(bucket.delayMs(0), 0);
    bucket.take(0);
    assert.ok(!bucket.isFull(1_999));
    assert.equal(bucket.delayMs(0), 2_000);
    assert.ok(bucket.isFull(2_000));
  });

  it('without a limit never holds anybody back', () => {
    const bucket = new TokenBucket(Number.POSITIVE_INFINITY);
    bucket.take(0, 1_000_000);
    assert.equal(bucket.delayMs(0, 1_000_000), 0);
    assert.ok(bucket.isFull(0));
  });
});
