import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { decodeKeyBuffer, parseJsonAnswer } from './etsi004-json-codec.ts';

describe('decodeKeyBuffer', () => {
  it('reads lists, hex and base64 of every size apart', () => {
    for (let size = 3; size < 200; size++) {
      const key = randomBytes(size);
      const forms = [
        [...key],
        key.toString('hex'),
        key.toString('hex').toUpperCase(),
        key.toString('base64'),
        key.toString('base64url'),
      ];
      for (const form of forms) assert.deepEqual(decodeKeyBuffer(form, size), key);
    }
  });

  it('takes hex that is also valid base64 for what its length says', () => {
    const key = Buffer.alloc(32, 0xab);
    assert.deepEqual(decodeKeyBuffer('ab'.repeat(32), 32), key);
    assert.equal(decodeKeyBuffer('ab'.repeat(32), 48).length, 48);
  });

  it('refuses wrong lengths and values without repeating them', () => {
    const bad: unknown[] = [[1, 2], new Array(32).fill(256), new Array(32).fill('1'), 'zz'.repeat(32), 'ab'.repeat(31), null, 7, {}];
    for (const value of bad) {
      assert.throws(
        () => decodeKeyBuffer(value, 32),
        (error: Error) => isReason(error, 'QKD_UNAVAILABLE') && !error.message.includes('abab'),
      );
    }
  });
});

describe('parseJsonAnswer', () => {
  it('reads the reference error with its text status', () => {
    const answer = parseJsonAnswer({ status: 'error', message: 'Unknown command' });
    assert.deepEqual([answer.status, answer.message], [-1, 'Unknown command']);
  });

  it('refuses what is no answer', () => {
    for (const json of [null, [], 'x', {}]) assert.throws(() => parseJsonAnswer(json), /QKD_UNAVAILABLE/);
  });
});
