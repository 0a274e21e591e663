import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { termsOf } from '#test/helpers/streams.ts';
import { slotOf, standInFor } from '../streams/stream-terms.ts';
import { type AssertUsable, usableAlgorithms } from './usable-algorithms.ts';

/** Why each KEM cannot be done; empty where it can. */
type Unavailable = ReadonlyMap<string, string>;

const EVERY: Unavailable = new Map(KEM_ALGORITHMS.map(({ name }) => [name, '']));
const terms = (...sources: string[]) => termsOf('hkdf-sha384', sources);

let clock: FakeClock;
let asked: number;
let answer: () => Promise<Unavailable>;
let assertUsable: AssertUsable;

beforeEach(() => {
  clock = new FakeClock();
  asked = 0;
  answer = async () => EVERY;
  const unavailable = () => {
    asked += 1;
    return answer();
  };
  assertUsable = usableAlgorithms({ unavailable }, clock);
});

const unsupported = (words: RegExp) => (error: unknown) =>
  isReason(error, 'UNSUPPORTED') && words.test(String(error));

describe('usableAlgorithms', () => {
  it('takes every single KEM beside QKD, and two of the largest', async () => {
    for (const { name } of KEM_ALGORITHMS) await assertUsable(terms(name, 'QKD'));
    await assertUsable(terms('Classic-McEliece-8192128', 'QKD', 'Classic-McEliece-8192128'));
  });

  it('refuses in words a list whose public keys no message holds', async () => {
    const largest = 'Classic-McEliece-8192128';
    await assert.rejects(
      assertUsable(terms(largest, largest, largest)),
      unsupported(/the KEMs of this list exchange 4073472 bytes for each key and 3145728 are possible/),
    );
  });

  it('refuses what no engine can do, in the engine’s words, and what pqc-source does not know', async () => {
    answer = async () =>
      new Map([
        ['ML-KEM-768', ''],
        ['BIKE-L1', 'BIKE-L1 needs the native engine (make native)'],
      ]);
    await assertUsable(terms('ML-KEM-768', 'QKD'));
    await assert.rejects(
      assertUsable(terms('ML-KEM-768', 'BIKE-L1')),
      unsupported(/needs the native engine/),
    );
    await assert.rejects(assertUsable(terms('HQC-128')), unsupported(/does not know HQC-128/));
  });

  it('does not ask about sources that pqc-source has nothing to do with', async () => {
    answer = async () => Promise.reject(new KeyweaveError('INTERNAL', 'broken'));
    const qkd = terms('QKD');
    await assertUsable({ ...qkd, slots: [...qkd.slots, standInFor(slotOf('QKD'))] });
    assert.equal(asked, 0);
  });

  it('asks once a minute', async () => {
    const all = Promise.all([assertUsable(terms('ML-KEM-768')), assertUsable(terms('HQC-128'))]);
    await all;
    await clock.advance(59_999);
    await assertUsable(terms('ML-KEM-768'));
    assert.equal(asked, 1);
    await clock.advance(1);
    await assertUsable(terms('ML-KEM-768'));
    assert.equal(asked, 2);
  });

  for (const reason of ['SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN'] as const) {
    it(`refuses nothing while pqc-source cannot be asked (${reason}), and asks again at once`, async () => {
      answer = async () => Promise.reject(new KeyweaveError(reason, 'gone'));
      await assertUsable(terms('BIKE-L1'));
      answer = async () => new Map([['BIKE-L1', 'no engine']]);
      await assert.rejects(assertUsable(terms('BIKE-L1')), unsupported(/no engine/));
    });
  }

  it('passes on any other failure', async () => {
    answer = async () => Promise.reject(new KeyweaveError('NOT_ALLOWED', 'not this caller'));
    await assert.rejects(assertUsable(terms('ML-KEM-768')), (error) => isReason(error, 'NOT_ALLOWED'));
  });

  it('keeps a later answer when an earlier question fails', async () => {
    const late = Promise.withResolvers<Unavailable>();
    answer = () => late.promise;
    const first = assertUsable(terms('ML-KEM-768'));
    await clock.advance(60_000);
    answer = async () => EVERY;
    await assertUsable(terms('ML-KEM-768'));
    late.reject(new KeyweaveError('TIMEOUT', 'too late'));
    await first;
    await assertUsable(terms('ML-KEM-768'));
    assert.equal(asked, 2);
  });
});
