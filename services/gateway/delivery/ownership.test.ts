import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mayUse } from './ownership.ts';

const caller = (identity: string | undefined, address = '127.0.0.1:1') => ({ identity, address });

describe('mayUse', () => {
  it('gives a stream to the identity that opened it, wherever it calls from, and to no other', () => {
    const owner = caller('CN:alice');
    assert.equal(mayUse(owner, caller('CN:alice', '10.0.0.9:4')), true);
    for (const other of ['CN:mallory', 'cn:alice', 'DNS:alice', '', undefined])
      assert.equal(mayUse(owner, caller(other)), false, `${other}`);
  });

  it('gives what was opened without an identity to whoever has none, and to no identity', () => {
    const owner = caller(undefined);
    assert.equal(mayUse(owner, caller(undefined, '10.0.0.9:4')), true);
    assert.equal(mayUse(owner, caller('CN:alice')), false);
  });

  it('gives nobody what nobody has opened', () => {
    for (const identity of ['CN:alice', undefined]) assert.equal(mayUse(undefined, caller(identity)), false);
  });
});
