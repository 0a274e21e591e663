import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { batchLimit } from './batch-limit.ts';
import type { KeyStream } from './key-stream.ts';
import { slotOf } from './stream-terms.ts';

const limit = (sources: readonly string[], keyChunkSize = 32, maxChunks = 256) =>
  batchLimit(
    { terms: { slots: sources.map(slotOf) }, qos: { keyChunkSize } } as unknown as KeyStream,
    maxChunks,
  );

describe('batchLimit', () => {
  it('is the configured number for sources that are fast and small', () => {
    assert.equal(limit(['ML-KEM-768', 'QKD']), 256);
    assert.equal(limit(['QKD']), 256);
  });

  it('keeps every message within its budget: public keys, ciphertexts, chunks', () => {
    assert.equal(limit(['ML-KEM-1024', 'ML-KEM-1024', 'ML-KEM-1024', 'ML-KEM-1024'], 32, 1024), 167);
    assert.equal(limit(['QKD'], 65_536), 16);
  });

  it('is one where a KEM is slow, even if its public key is beyond the budget', () => {
    assert.equal(limit(['Classic-McEliece-348864', 'QKD']), 1);
    assert.equal(limit(['Classic-McEliece-8192128', 'QKD']), 1);
  });
});
