import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { PackedPrivateKeys } from './packed-private-keys.ts';

const refused = (error: unknown) => isReason(error, 'AGREEMENT_FAILED');

describe('PackedPrivateKeys', () => {
  it('lends the first keys to the engine that made them, without a copy', () => {
    const bytes = Buffer.from([1, 1, 2, 2, 3, 3]);
    const keys = new PackedPrivateKeys('openssl', bytes, 3);
    assert.deepEqual([...PackedPrivateKeys.lend(keys, 'openssl', 2)], [1, 1, 2, 2]);
    assert.equal(PackedPrivateKeys.lend(keys, 'openssl', 3).buffer, bytes.buffer);
  });

  it('lends none to another engine, none of another kind, and no more than there are', () => {
    const keys = new PackedPrivateKeys('openssl', Buffer.alloc(6, 1), 3);
    const others = { count: 3, wipe: () => undefined };
    assert.throws(() => PackedPrivateKeys.lend(keys, 'liboqs-wasm', 1), refused);
    assert.throws(() => PackedPrivateKeys.lend(keys, 'openssl', 4), refused);
    assert.throws(() => PackedPrivateKeys.lend(others, 'openssl', 1), refused);
  });

  it('zeroes the keys when it is wiped, and lends none afterwards', () => {
    const bytes = Buffer.alloc(6, 1);
    const keys = new PackedPrivateKeys('openssl', bytes, 3);
    keys.wipe();
    keys.wipe();
    assert.deepEqual(bytes, Buffer.alloc(6));
    assert.throws(() => PackedPrivateKeys.lend(keys, 'openssl', 1), refused);
  });
});
