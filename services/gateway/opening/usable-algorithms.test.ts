import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ServiceClient } from '#common/grpc/client.ts';
import type { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { type StreamTerms, slotOf, standInFor } from '../streams/stream-terms.ts';
import { usableAlgorithms } from './usable-algorithms.ts';

type Row = { slot: { algorithm: string } | undefined; unavailable: string };

const EVERY: Row[] = KEM_ALGORITHMS.map(({ name }) => ({ slot: { algorithm: name }, unavailable: '' }));
const terms = (...sources: string[]) => ({ slots: sources.map(slotOf) }) as unknown as StreamTerms;

let nowMs: number;
/** How long each question to pqc-source may take. */
let asked: (number | undefined)[];
let answer: () => Promise<Row[]>;
let assertUsable: ReturnType<typeof usableAlgorithms>;

beforeEach(() => {
  nowMs = 0;
  asked = [];
  answer = async () => EVERY;
  const client = {
    listAlgorithms: async (_request: object, options: { timeoutMs?: number }) => {
      asked.push(options.timeoutMs);
      return { algorithms: await answer() };
    },
  } as unknown as ServiceClient<PqcSourceDefinition>;
  assertUsable = usableAlgorithms(client, () => nowMs);
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
    answer = async () => [
      { slot: undefined, unavailable: 'a row of nothing' },
      { slot: { algorithm: 'ML-KEM-768' }, unavailable: '' },
      { slot: { algorithm: 'BIKE-L1' }, unavailable: 'BIKE-L1 needs the native engine (make native)' },
    ];
    await assertUsable(terms('ML-KEM-768', 'QKD'));
    await assert.rejects(
      assertUsable(terms('ML-KEM-768', 'BIKE-L1')),
      unsupported(/needs the native engine/),
    );
    await assert.rejects(assertUsable(terms('HQC-128')), unsupported(/does not know HQC-128/));
  });

  it('does not ask about sources that pqc-source has nothing to do with', async () => {
    answer = async () => Promise.reject(new KeyweaveError('INTERNAL', 'broken'));
    const { slots } = terms('QKD');
    await assertUsable({ slots: [...slots, standInFor(slotOf('QKD'))] } as unknown as StreamTerms);
    assert.deepEqual(asked, []);
  });

  it('asks once a minute, for 3 s at most', async () => {
    const all = Promise.all([assertUsable(terms('ML-KEM-768')), assertUsable(terms('HQC-128'))]);
    await all;
    nowMs = 59_999;
    await assertUsable(terms('ML-KEM-768'));
    assert.deepEqual(asked, [3_000]);
    nowMs = 60_000;
    await assertUsable(terms('ML-KEM-768'));
    assert.deepEqual(asked, [3_000, 3_000]);
  });

  for (const reason of ['SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN'] as const) {
    it(`refuses nothing while pqc-source cannot be asked (${reason}), and asks again at once`, async () => {
      answer = async () => Promise.reject(new KeyweaveError(reason, 'gone'));
      await assertUsable(terms('BIKE-L1'));
      answer = async () => [{ slot: { algorithm: 'BIKE-L1' }, unavailable: 'no engine' }];
      await assert.rejects(assertUsable(terms('BIKE-L1')), unsupported(/no engine/));
    });
  }

  it('passes on any other failure', async () => {
    answer = async () => Promise.reject(new KeyweaveError('NOT_ALLOWED', 'not this caller'));
    await assert.rejects(assertUsable(terms('ML-KEM-768')), (error) => isReason(error, 'NOT_ALLOWED'));
  });

  it('keeps a later answer when an earlier question fails', async () => {
    const late = Promise.withResolvers<Row[]>();
    answer = () => late.promise;
    const first = assertUsable(terms('ML-KEM-768'));
    nowMs = 60_000;
    answer = async () => EVERY;
    await assertUsable(terms('ML-KEM-768'));
    late.reject(new KeyweaveError('TIMEOUT', 'too late'));
    await first;
    await assertUsable(terms('ML-KEM-768'));
    assert.equal(asked.length, 2);
  });
});
