import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { errorOf, failureOf } from '#common/errors/failure.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

describe('the failure of one entry of a message', () => {
  it('carries reason and detail to the other end', () => {
    const error = new KeyweaveError('SOURCE_FAULT', 'slot 1 gave zeros', { cause: new Error('inside') });
    const failure = failureOf(error);
    assert.deepEqual(failure, { reason: 'SOURCE_FAULT', detail: 'slot 1 gave zeros' });
    const { reason, detail, cause } = errorOf(failure);
    assert.deepEqual([reason, detail, cause], ['SOURCE_FAULT', 'slot 1 gave zeros', undefined]);
  });

  it('tells nothing of an unexpected error', () => {
    const failure = failureOf(new TypeError('secret 0a1b2c'));
    assert.equal(failure.reason, 'INTERNAL');
    assert.doesNotMatch(failure.detail, /0a1b2c/);
  });

  it('of words that nobody here knows is AGREEMENT_FAILED, and its text is bounded', () => {
    for (const reason of ['', 'NEW_IN_V9', 'toString']) {
      const error = errorOf({ reason, detail: 'x'.repeat(5000) });
      assert.equal(error.reason, 'AGREEMENT_FAILED', reason);
      assert.equal(error.detail.length, 1024);
    }
  });
});
