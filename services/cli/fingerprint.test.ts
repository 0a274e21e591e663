import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { fingerprint } from './fingerprint.ts';

describe('fingerprint', () => {
  it("is 8 bytes of the key's SHA-256, never the key", () => {
    const key = Buffer.alloc(32, 7);
    assert.equal(fingerprint(key), createHash('sha256').update(key).digest('hex').slice(0, 16));
    assert.doesNotMatch(fingerprint(key), /0707/);
    // FIPS 180-4: the digest of no bytes.
    assert.equal(fingerprint(Buffer.alloc(0)), 'e3b0c44298fc1c14');
  });
});
