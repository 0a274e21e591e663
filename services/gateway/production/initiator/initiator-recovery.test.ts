import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { type Clock, systemClock } from '#common/time/clock.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { keyStream, termsOf } from '#test/helpers/streams.ts';
import { standInFor } from '../../streams/stream-terms.ts';
import { ofPqc } from '../missing-source.ts';
import { InitiatorRecovery } from './initiator-recovery.ts';

/** A batch that took QKD keys. */
const QKD = {} as QkdReference;

let nowMs: number;
const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
let recovery: InitiatorRecovery;
let resumed: number[];

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  nowMs = 0;
  resumed = [];
  recovery = recoveryOf(['ML-KEM-768', 'QKD']);
});
afterEach(() => mock.timers.reset());

const recoveryOf = (sources: readonly string[], allowDegraded = true) =>
  new InitiatorRecovery(clock, keyStream({ terms: termsOf('hkdf-sha384', sources), allowDegraded }));

const fails = (reason: ErrorReason) =>
  recovery.failed(
    { standIn: recovery.standIn, leftOut: recovery.leftOut },
    new KeyweaveError(reason, 'as the test says'),
  );

function pass(ms: number): void {
  for (let i = 0; i < ms; i++) {
    nowMs += 1;
    mock.timers.tick(1);
  }
}

/** Milliseconds until what was to come after the pause has come. */
function gap(): number {
  const [before, sinceMs] = [resumed.length, nowMs];
  for (let i = 0; i < 3_000 && resumed.length === before; i++) pass(1);
  return nowMs - sinceMs;
}

const resume = () => {
  resumed.push(nowMs);
};

/** Remedies for failures in a row, each after the pause that follows the one before. */
const inARow = (count: number, reason: ErrorReason) =>
  Array.from({ length: count }, () => {
    const remedy = fails(reason);
    recovery.pause(resume);
    pass(1_100);
    return remedy;
  });

describe('a stream whose batches fail', () => {
  it('tells those who wait at the second failure, and of what passes by itself at the eighth', () => {
    assert.deepEqual(inARow(3, 'AGREEMENT_FAILED'), ['later', 'give up', 'give up']);
    recovery = recoveryOf(['ML-KEM-768', 'QKD'], false);
    for (const reason of [
      'PEER_UNREACHABLE',
      'SERVICE_UNAVAILABLE',
      'SHUTTING_DOWN',
      'QKD_OUT_OF_STEP',
    ] as const) {
      recovery.succeeded({ qkd: QKD });
      assert.deepEqual(inARow(8, reason), [...Array<string>(7).fill('later'), 'give up'], reason);
    }
  });

  it('counts what fails during a pause as the same trouble', () => {
    assert.equal(fails('INTERNAL'), 'later');
    recovery.pause(resume);
    pass(49);
    assert.equal(fails('INTERNAL'), 'later');
    pass(1);
    assert.equal(recovery.isPaused, false);
    assert.equal(fails('INTERNAL'), 'give up');
  });

  it('pauses for 50 ms to a second, twice as long after each failure, and for 50 ms after a success', () => {
    const gaps = () =>
      Array.from({ length: 14 }, () => {
        fails('PEER_UNREACHABLE');
        recovery.pause(resume);
        assert.equal(recovery.isPaused, true);
        const ms = gap();
        assert.equal(recovery.isPaused, false);
        return ms;
      });
    const expected = [51, 101, 201, 401, 801, ...Array(9).fill(1_001)];
    assert.deepEqual(gaps(), expected);
    recovery.succeeded({ qkd: QKD });
    assert.deepEqual(gaps(), expected);
  });

  it('asks for room at growing intervals, and from the start after there was some', () => {
    for (let i = 0; i < 2; i++) {
      const gaps = [1, 2, 3].map(() => {
        recovery.pauseForRoom(resume);
        return gap();
      });
      assert.deepEqual(gaps, [51, 101, 201]);
      recovery.succeeded({ qkd: QKD });
    }
  });

  it('keeps to the longer of two pauses, and resumes once', () => {
    for (let i = 0; i < 4; i++) fails('PEER_UNREACHABLE');
    recovery.pause(resume);
    recovery.pauseForRoom(resume);
    assert.equal(gap(), 401);
    pass(2_000);
    assert.equal(resumed.length, 1);
  });

  it('does not resume once it has stopped', () => {
    fails('INTERNAL');
    recovery.pause(resume);
    recovery.stop();
    pass(2_000);
    assert.deepEqual(resumed, []);
  });

  it('is not doubtful for a trouble of QKD keys that it shares with others', () => {
    const shared = new InitiatorRecovery(clock, keyStream({ terms: termsOf('hkdf-sha384', ['QKD']) }), true);
    for (const one of [shared, recovery]) {
      one.succeeded({ qkd: QKD });
      for (const reason of ['QKD_OUT_OF_STEP', 'QKD_UNAVAILABLE', 'INSUFFICIENT_KEY'] as const)
        one.failed({ standIn: 1, leftOut: undefined }, new KeyweaveError(reason, 'as the test says'));
    }
    assert.deepEqual([shared.isDoubtful, recovery.isDoubtful], [false, true]);
    shared.failed({ standIn: 1, leftOut: undefined }, new KeyweaveError('SOURCE_FAULT', 'as the test says'));
    assert.equal(shared.isDoubtful, true);
  });

  it('is doubtful until a batch has succeeded, and in trouble, but not while nobody can be reached', () => {
    assert.equal(recovery.isDoubtful, true);
    recovery.succeeded({ qkd: QKD });
    assert.equal(recovery.isDoubtful, false);
    fails('PEER_UNREACHABLE');
    assert.equal(recovery.isDoubtful, false);
    fails('SOURCE_FAULT');
    assert.equal(recovery.isDoubtful, true);
    fails('PEER_UNREACHABLE');
    assert.equal(recovery.isDoubtful, true, 'trouble was forgotten without a success');
    recovery.succeeded({ qkd: QKD });
    assert.equal(recovery.isDoubtful, false);
  });
});

describe('a stream whose QKD is missing', () => {
  it('has the seed stand in for the next batch, and QKD tried again after it', () => {
    for (const reason of ['QKD_UNAVAILABLE', 'INSUFFICIENT_KEY'] as const) {
      assert.equal(recovery.standIn, undefined);
      assert.equal(fails(reason), 'again');
      assert.equal(recovery.standIn, 1);
      recovery.succeeded({ qkd: undefined });
    }
    assert.equal(recovery.standIn, undefined);
  });

  it('has QKD tried again where the degraded batch fails, too, and counts that failure', () => {
    fails('QKD_UNAVAILABLE');
    assert.equal(fails('INSUFFICIENT_KEY'), 'later');
    assert.equal(recovery.standIn, undefined);
  });

  it('takes a second loss of step for missing QKD, unless a batch of it has succeeded in between', () => {
    assert.equal(fails('QKD_OUT_OF_STEP'), 'again');
    assert.equal(recovery.standIn, undefined);
    recovery.succeeded({ qkd: QKD });
    fails('QKD_OUT_OF_STEP');
    assert.equal(recovery.standIn, undefined, 'the loss before the success was counted');
    recovery.succeeded({ qkd: undefined });
    assert.equal(fails('QKD_OUT_OF_STEP'), 'again');
    assert.equal(recovery.standIn, 1, 'a batch without QKD was taken for proof of it');
  });

  it('degrades nothing where the policy, the sources or the failure do not allow it', () => {
    for (const [sources, allowed, reason] of [
      [['ML-KEM-768', 'QKD'], false, 'QKD_UNAVAILABLE'],
      [['QKD', 'QKD'], true, 'QKD_UNAVAILABLE'],
      [['ML-KEM-768', 'QKD'], true, 'AGREEMENT_FAILED'],
    ] as const) {
      recovery = recoveryOf(sources, allowed);
      assert.equal(fails(reason), 'later', `${sources} ${reason}`);
      assert.equal(recovery.standIn, undefined);
    }
    recovery = recoveryOf(['QKD', 'ML-KEM-768']);
    fails('QKD_UNAVAILABLE');
    assert.equal(recovery.standIn, 0);
  });

  it('leaves the stand-in of a single source where it is', () => {
    const terms = termsOf('hkdf-sha384', ['QKD']);
    const slots = [...terms.slots, standInFor(terms.slots[0] as (typeof terms.slots)[0])];
    recovery = new InitiatorRecovery(clock, keyStream({ terms: { ...terms, slots }, allowDegraded: true }));
    assert.equal(recovery.standIn, 1);
    assert.equal(fails('QKD_UNAVAILABLE'), 'later');
    recovery.succeeded({ qkd: QKD });
    assert.equal(recovery.standIn, 1);
  });
});

describe('a stream that may do without sources of a kind', () => {
  const withLeeway = (mayLack: { qkd: boolean; pqc: boolean }, allowDegraded = false, timeoutMs = 10_000) => {
    const terms = termsOf('hkdf-sha384', ['ML-KEM-768', 'QKD']);
    recovery = new InitiatorRecovery(clock, keyStream({ terms, mayLack, allowDegraded, qos: { timeoutMs } }));
  };
  const ANY = { qkd: true, pqc: true };
  const pqcFails = (reason: ErrorReason = 'SERVICE_UNAVAILABLE') => {
    const error = ofPqc(new KeyweaveError(reason, 'as the test says'));
    const remedy = recovery.failed({ standIn: recovery.standIn, leftOut: recovery.leftOut }, error);
    recovery.pause(resume);
    return remedy;
  };
  /** Milliseconds for which KEMs have to fail until they are left out. */
  const patience = () => {
    const since = nowMs;
    while (pqcFails() !== 'again') pass(60);
    return nowMs - since;
  };

  it('leaves out QKD at once where it is missing, for one batch, and not for anything else', () => {
    withLeeway({ qkd: true, pqc: false });
    assert.equal(recovery.mayDoWithoutQkd, true);
    assert.equal(fails('AGREEMENT_FAILED'), 'later');
    assert.equal(fails('QKD_OUT_OF_STEP'), 'again');
    assert.equal(recovery.leftOut, undefined, 'the ends had only lost step');
    for (const reason of ['INSUFFICIENT_KEY', 'QKD_UNAVAILABLE'] as const) {
      assert.equal(fails(reason), 'again');
      assert.deepEqual([recovery.leftOut, recovery.standIn], ['qkd', undefined]);
      recovery.succeeded({ qkd: undefined, leftOut: 'qkd' });
      assert.equal(recovery.leftOut, undefined);
    }
  });

  it('has the seed stand in rather than leave QKD out', () => {
    withLeeway(ANY, true);
    assert.equal(fails('QKD_UNAVAILABLE'), 'again');
    assert.deepEqual([recovery.leftOut, recovery.standIn], [undefined, 1]);
  });

  it('leaves out KEMs once they have failed for a second, or half of the timeout', () => {
    withLeeway(ANY);
    const long = patience();
    assert.ok(long >= 1_000 && long < 1_100, `${long} ms`);
    assert.equal(recovery.leftOut, 'pqc');
    withLeeway(ANY, false, 600);
    const short = patience();
    assert.ok(short >= 300 && short < 400, `${short} ms`);
  });

  it('tries KEMs again after a while, at longer intervals, and knows at once that they still fail', () => {
    withLeeway(ANY);
    patience();
    for (const awayMs of [2_000, 4_000, 8_000]) {
      pass(awayMs - 1);
      recovery.succeeded({ qkd: QKD, leftOut: 'pqc' });
      assert.equal(recovery.leftOut, 'pqc');
      pass(1);
      recovery.succeeded({ qkd: QKD, leftOut: 'pqc' });
      assert.equal(recovery.leftOut, undefined);
      assert.equal(pqcFails(), 'again');
      assert.equal(recovery.leftOut, 'pqc');
    }
    pass(16_000);
    recovery.succeeded({ qkd: QKD, leftOut: 'pqc' });
    recovery.succeeded({ qkd: QKD });
    assert.ok(patience() >= 1_000, 'a batch with KEMs has shown that they are back');
  });

  it('leaves nothing out that the policy wants, that has only too much to do, or when nothing would be left', () => {
    for (const [mayLack, reason] of [
      [{ qkd: true, pqc: false }, 'SERVICE_UNAVAILABLE'],
      [ANY, 'LIMIT_EXCEEDED'],
      [ANY, 'SOURCE_FAULT'],
      [ANY, 'UNSUPPORTED'],
    ] as const) {
      withLeeway(mayLack);
      for (let i = 0; i < 12; i++) {
        assert.notEqual(pqcFails(reason), 'again', reason);
        pass(1_100);
      }
      assert.equal(recovery.leftOut, undefined);
    }
    withLeeway({ qkd: false, pqc: true });
    assert.equal(fails('QKD_UNAVAILABLE'), 'later');
    withLeeway(ANY);
    fails('QKD_UNAVAILABLE');
    assert.equal(pqcFails(), 'later');
    assert.equal(recovery.leftOut, undefined, 'both kinds were left out');
  });
});
