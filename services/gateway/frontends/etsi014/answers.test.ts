import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { errorAnswer } from '../http/answers.ts';
import { keysAnswer } from './answers.ts';

const ID = 'bc490419-7d60-487f-adc1-4ddcc177c139';

const parsed = (answer: Buffer) => JSON.parse(answer.toString());

describe('a key container', () => {
  it("is the standard's example", () => {
    // ETSI GS QKD 014 V1.1.1, clause 6.3.
    const key = 'wHHVxRwDJs3/bXd38GHP3oe4svTuRpZS0yCC7x4Ly+s=';
    const answer = keysAnswer([{ id: ID, key: new Secret(Buffer.from(key, 'base64')) }]);
    assert.equal(answer.toString(), `{"keys":[{"key_ID":"${ID}","key":"${key}"}]}`);
  });

  it('holds keys of every length, and wipes them', () => {
    for (let bytes = 1; bytes < 70; bytes++) {
      const plain = [randomBytes(bytes), randomBytes(bytes), randomBytes(bytes)];
      const keys = plain.map((each) => ({ id: ID, key: new Secret(Buffer.from(each)) }));
      assert.deepEqual(parsed(keysAnswer(keys)), {
        keys: plain.map((each) => ({ key_ID: ID, key: each.toString('base64') })),
      });
      assert.ok(keys.every(({ key }) => key.wiped));
    }
    assert.deepEqual(parsed(keysAnswer([])), { keys: [] });
  });

  it('is memory of its own, which whoever sends it may wipe', () => {
    const answer = keysAnswer([{ id: ID, key: new Secret(randomBytes(32)) }]);
    assert.equal(answer.buffer.byteLength, answer.length);
  });
});

describe('an error', () => {
  it('has a message, and details where there are some', () => {
    assert.deepEqual(parsed(errorAnswer({ message: 'no' })), { message: 'no' });
    assert.deepEqual(parsed(errorAnswer({ message: 'no', details: [{ a: 'b' }] })), {
      message: 'no',
      details: [{ a: 'b' }],
    });
  });
});
