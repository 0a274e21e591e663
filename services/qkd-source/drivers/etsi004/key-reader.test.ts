import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { JSON_DIALECT } from './etsi004-json.ts';
import { KeyReader, takeKey, wipeAnswer } from './key-reader.ts';

const KEY_BYTES = 3;
const keyOf = (first: number) => [first, first + 1, first + 2];
const answer = (status: number, key_buffer?: unknown) => JSON_DIALECT.read({ status, key_buffer });
const DRY = answer(2);

function reader(count = 4) {
  const keys = Buffer.alloc(count * KEY_BYTES);
  return { keys, reading: new KeyReader(keys, KEY_BYTES) };
}

describe('KeyReader', () => {
  it('puts keys end to end in the order in which they come, and wipes each where it came', () => {
    const { keys, reading } = reader();
    const lists = [keyOf(1), keyOf(11)];
    for (const [i, list] of lists.entries()) {
      assert.equal(reading.count, i);
      reading.sent();
      reading.accept(answer(0, list));
    }
    assert.deepEqual([...keys], [1, 2, 3, 11, 12, 13, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual([reading.count, reading.dry, reading.misfit], [2, false, false]);
    assert.deepEqual(lists, [
      [0, 0, 0],
      [0, 0, 0],
    ]);
  });

  it('knows that the key manager has run dry, and does not take a key that comes behind that', () => {
    const { keys, reading } = reader();
    for (let i = 0; i < 3; i++) reading.sent();
    reading.accept(answer(0, keyOf(1)));
    reading.accept(DRY);
    assert.equal(reading.dry, true);
    reading.accept(DRY);
    const late = keyOf(21);
    assert.throws(
      () => reading.accept(answer(0, late)),
      (error) => isReason(error, 'QKD_OUT_OF_STEP'),
    );
    assert.deepEqual(late, [0, 0, 0]);
    assert.deepEqual([...keys.subarray(KEY_BYTES)], new Array(9).fill(0));
    assert.deepEqual([reading.count, reading.dry, reading.misfit], [1, true, false]);
  });

  it('is not dry because of another refusal, but stays dry after one', () => {
    const refused = (error: unknown) => isReason(error, 'QKD_UNAVAILABLE') && /status 6/.test(String(error));
    const { reading } = reader();
    assert.throws(() => reading.accept(answer(6)), refused);
    assert.equal(reading.dry, false);
    reading.accept(DRY);
    assert.throws(() => reading.accept(answer(6)), refused);
    assert.equal(reading.dry, true);
  });

  it('notes an answer that holds no key of the agreed size, and wipes it', () => {
    for (const value of [[1, 2], [1, 2, 3, 4], undefined]) {
      const { reading } = reader();
      reading.sent();
      assert.throws(
        () => reading.accept(answer(0, value)),
        (error) => isReason(error, 'QKD_UNAVAILABLE'),
      );
      assert.deepEqual([reading.misfit, reading.count], [true, 0]);
      assert.ok(value === undefined || value.every((byte) => byte === 0));
    }
  });

  it('is sure that no key has gone only when every request was refused', () => {
    const cause = new KeyweaveError('QKD_UNAVAILABLE', 'as the test says');
    const { reading } = reader();
    assert.ok(isReason(reading.failure(cause), 'QKD_UNAVAILABLE'), 'nothing was sent');
    reading.sent();
    assert.ok(isReason(reading.failure(cause), 'QKD_OUT_OF_STEP'), 'no answer yet');
    reading.accept(DRY);
    assert.ok(isReason(reading.failure(cause), 'QKD_UNAVAILABLE'));
    reading.sent();
    assert.throws(() => reading.accept(answer(6)));
    assert.ok(isReason(reading.failure(cause), 'QKD_UNAVAILABLE'), 'refused in other words');
    reading.sent();
    assert.throws(() => reading.accept(answer(0, keyOf(1))));
    assert.ok(isReason(reading.failure(cause), 'QKD_OUT_OF_STEP'), 'a key has come');
  });

  it('says in its error what went wrong, and keeps the cause', () => {
    const { reading } = reader();
    const known = new KeyweaveError('QKD_UNAVAILABLE', 'as the test says');
    assert.deepEqual([reading.failure(known).detail, reading.failure(known).cause], [known.detail, known]);
    const lost = new Error('ECONNRESET');
    assert.match(reading.failure(lost).detail, /did not answer/);
    assert.equal(reading.failure(lost).cause, lost);
  });
});

describe('the key of an answer', () => {
  it('is taken in any known form, and wiped where that can be', () => {
    const list = keyOf(7);
    assert.deepEqual([...takeKey(answer(0, list), KEY_BYTES)], [7, 8, 9]);
    assert.deepEqual(list, [0, 0, 0]);
    assert.deepEqual([...takeKey(answer(0, '070809'), KEY_BYTES)], [7, 8, 9]);
    assert.throws(
      () => takeKey(answer(0, '0708090a'), KEY_BYTES),
      (error) => isReason(error, 'QKD_UNAVAILABLE'),
    );
    wipeAnswer({});
  });
});
