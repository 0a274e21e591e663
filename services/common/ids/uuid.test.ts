import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { uuidText } from '#common/ids/uuid.ts';

describe('uuidText', () => {
  it('writes 16 bytes in network order', () => {
    const bytes = Uint8Array.from({ length: 16 }, (_, i) => 0x10 + i);
    assert.equal(uuidText('stream', bytes), '10111213-1415-1617-1819-1a1b1c1d1e1f');
  });

  it('refuses any other number of bytes by name', () => {
    for (const length of [0, 15, 17])
      assert.throws(
        () => uuidText('key_stream_id', new Uint8Array(length)),
        (error: Error) => isReason(error, 'BAD_REQUEST') && /key_stream_id must be 16/.test(error.message),
      );
  });
});
