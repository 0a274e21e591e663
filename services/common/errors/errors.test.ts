import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { status as grpc } from '@grpc/grpc-js';
import { errorOf, failureOf } from '#common/errors/failure.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import {
  type ErrorReason,
  ETSI004_STATUS,
  isErrorReason,
  STATUS_TABLE,
} from '#common/errors/status-table.ts';

/** What each reason is in every protocol: applications and other nodes lean on these numbers. */
const EXPECTED: Record<ErrorReason, [grpc: number, etsi004: number, http: number, retryable: boolean]> = {
  BAD_REQUEST: [grpc.INVALID_ARGUMENT, 1, 400, false],
  NO_ROUTE: [grpc.FAILED_PRECONDITION, 4, 400, false],
  UNSUPPORTED: [grpc.UNIMPLEMENTED, 7, 400, false],
  QOS_NOT_MET: [grpc.OUT_OF_RANGE, 7, 400, false],
  REVISION_MISMATCH: [grpc.FAILED_PRECONDITION, 7, 400, false],
  KSID_IN_USE: [grpc.ALREADY_EXISTS, 5, 409, false],
  UNKNOWN_STREAM: [grpc.NOT_FOUND, 3, 404, false],
  UNKNOWN_SERVICE: [grpc.NOT_FOUND, 1, 404, false],
  PEER_APPLICATION_ABSENT: [grpc.FAILED_PRECONDITION, 3, 409, true],
  PEER_UNREACHABLE: [grpc.UNAVAILABLE, 1, 503, true],
  SERVICE_UNAVAILABLE: [grpc.UNAVAILABLE, 1, 503, true],
  INSUFFICIENT_KEY: [grpc.RESOURCE_EXHAUSTED, 2, 503, true],
  NO_ROOM: [grpc.RESOURCE_EXHAUSTED, 2, 503, true],
  QKD_UNAVAILABLE: [grpc.UNAVAILABLE, 4, 503, true],
  SOURCE_FAULT: [grpc.ABORTED, 4, 503, true],
  QKD_OUT_OF_STEP: [grpc.ABORTED, 6, 503, true],
  AGREEMENT_FAILED: [grpc.ABORTED, 6, 503, true],
  TIMEOUT: [grpc.DEADLINE_EXCEEDED, 6, 504, true],
  METADATA_TOO_SMALL: [grpc.OUT_OF_RANGE, 8, 400, false],
  NOT_ALLOWED: [grpc.PERMISSION_DENIED, 4, 401, false],
  LIMIT_EXCEEDED: [grpc.RESOURCE_EXHAUSTED, 1, 429, true],
  SHUTTING_DOWN: [grpc.UNAVAILABLE, 1, 503, true],
  BAD_CONFIG: [grpc.FAILED_PRECONDITION, 1, 500, false],
  INTERNAL: [grpc.INTERNAL, 1, 500, false],
};

describe('the reasons of errors', () => {
  for (const [reason, expected] of Object.entries(EXPECTED)) {
    it(`${reason} has its status in every protocol`, () => {
      const row = STATUS_TABLE[reason as ErrorReason];
      assert.deepEqual([row.grpc, row.etsi004, row.http, row.retryable], expected);
      assert.equal(new KeyweaveError(reason as ErrorReason, 'x').retryable, expected[3]);
    });
  }

  it('lean on the numbers of ETSI GS QKD 004 V2.1.1, 6.1, of which 0 is the only success', () => {
    assert.deepEqual(Object.values(ETSI004_STATUS), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert.equal(ETSI004_STATUS.SUCCESS, 0);
  });

  it('are known by name, and nothing that every object has is one', () => {
    assert.equal(isErrorReason('TIMEOUT'), true);
    for (const text of ['timeout', '', 'toString', '__proto__']) assert.equal(isErrorReason(text), false);
  });
});

describe('KeyweaveError', () => {
  const cause = new Error('a secret path');

  it('says reason and detail, and keeps the cause for the log', () => {
    const error = new KeyweaveError('TIMEOUT', 'no answer', { cause });
    assert.deepEqual(
      [error.name, error.message, error.reason, error.detail, error.cause],
      ['KeyweaveError', 'TIMEOUT: no answer', 'TIMEOUT', 'no answer', cause],
    );
  });

  it('passes errors of ours on and hides the words of every other one', () => {
    const ours = new KeyweaveError('NO_ROUTE', 'nowhere');
    assert.equal(KeyweaveError.from(ours), ours);
    const wrapped = KeyweaveError.from(cause);
    assert.equal(wrapped.reason, 'INTERNAL');
    assert.equal(wrapped.cause, cause);
    assert.ok(!wrapped.message.includes('secret path'));
  });

  it('is told by any of several reasons, which no other error has', () => {
    const error = new KeyweaveError('TIMEOUT', 'x');
    assert.equal(isReason(error, 'NO_ROUTE', 'TIMEOUT'), true);
    assert.equal(isReason(error, 'NO_ROUTE'), false);
    assert.equal(isReason(Object.assign(new Error('x'), { reason: 'TIMEOUT' }), 'TIMEOUT'), false);
  });
});

describe('failures inside messages', () => {
  it('carry reason and detail from one node to the other', () => {
    const failure = failureOf(new KeyweaveError('QKD_UNAVAILABLE', 'no key manager'));
    assert.deepEqual(failure, { reason: 'QKD_UNAVAILABLE', detail: 'no key manager' });
    const error = errorOf(failure);
    assert.deepEqual([error.reason, error.detail], ['QKD_UNAVAILABLE', 'no key manager']);
    assert.equal(failureOf(new TypeError('of a variable')).reason, 'INTERNAL');
  });

  it('with a reason that nobody here knows are failures of the agreement, and words have an end', () => {
    const error = errorOf({ reason: 'SPELL_MISCAST', detail: 'x'.repeat(5_000) });
    assert.deepEqual([error.reason, error.detail.length], ['AGREEMENT_FAILED', 1024]);
  });
});
