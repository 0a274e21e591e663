import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { format, inspect } from 'node:util';
import { Secret } from '#common/crypto/secret.ts';

const BYTES = 'the bytes of a key';
const secret = () => new Secret(Buffer.from(BYTES));

describe('Secret', () => {
  it('lends its bytes until it is wiped, and never after', () => {
    const memory = Buffer.from(BYTES);
    const held = new Secret(memory);
    assert.equal(held.expose(), memory);
    assert.deepEqual([held.length, held.wiped], [BYTES.length, false]);
    held.wipe();
    assert.equal(held.wiped, true);
    assert.ok(memory.every((byte) => byte === 0));
    assert.throws(() => held.expose(), /secret used after it was wiped/);
    held.wipe();
  });

  it('is wiped at the end of its block', () => {
    const memory = Buffer.from(BYTES);
    {
      using _held = new Secret(memory);
    }
    assert.ok(memory.every((byte) => byte === 0));
  });

  it('shows nothing of itself, however it is printed', () => {
    const shown = [
      `${secret()}`,
      JSON.stringify({ key: secret() }),
      inspect(secret()),
      inspect({ nested: [secret()] }, { depth: 9, showHidden: true }),
      format('%s %o %O %j', secret(), secret(), secret(), secret()),
    ];
    for (const text of shown) {
      assert.match(text, /\[secret\]/);
      assert.ok(!text.includes(BYTES) && !text.includes(Buffer.from(BYTES).toString('hex')));
      assert.doesNotMatch(text, /Buffer|74 68 65/);
    }
  });
});
