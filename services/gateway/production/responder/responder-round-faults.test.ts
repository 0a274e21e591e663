import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { offerOf, ResponderBench } from '#test/helpers/responder-bench.ts';
import { qkdReference, termsOf } from '#test/helpers/streams.ts';
import { StreamEvents } from '../../streams/stream-events.ts';
import { SourceFaults } from '../source-faults.ts';

let logged: { message: string; fields: unknown }[];
let bench: ResponderBench;
let sourceFaults: SourceFaults;
/** Streams whose batches the hybridizer finds at fault, by the first byte of their KSID. */
let faulty: Set<number>;

beforeEach(() => {
  logged = [];
  faulty = new Set();
  const log: Log = { ...silentLog, error: (message, fields) => logged.push({ message, fields }) };
  const nothing = Buffer.alloc(0);
  sourceFaults = new SourceFaults(log);
  bench = new ResponderBench({
    fetchKeys: async ({ fetches }) => ({
      results: fetches.map(({ count }) => ({
        keys: Buffer.alloc(count * 32, 0xab),
        failure: undefined,
        keyNames: [],
      })),
      blockBytes: 0,
    }),
    derive: async ({ batches }) => ({
      batches: batches.map(({ count, context }) =>
        faulty.has(context?.keyStreamId[0] ?? 0)
          ? {
              ...{ keys: nothing, initiatorTags: nothing, responderTags: nothing },
              failure: { reason: 'SOURCE_FAULT', detail: 'slots 1 and 2 (QKD, QKD) gave the same secret' },
            }
          : {
              keys: Buffer.alloc(count * 32, 1),
              initiatorTags: Buffer.alloc(count * 32, 2),
              responderTags: Buffer.alloc(count * 32, 3),
              failure: undefined,
            },
      ),
    }),
  });
});

function offered(digit: number) {
  const producer = bench.producer({
    id: `${digit}1111111-1111-4111-8111-111111111111`,
    terms: termsOf('xoring', ['QKD', 'QKD']),
    qos: { timeoutMs: 1000, metadataMimetype: '' },
    events: new StreamEvents([sourceFaults]),
  });
  return { producer, offer: offerOf(producer, 2, { firstIndex: 5 }) };
}

describe('ResponderRound', () => {
  it('drops the batch of a source at fault, counts and logs it as that, and makes the others', async () => {
    const [bad, good] = [offered(1), offered(2)];
    faulty.add(0x11);
    const [refused, made] = await bench.answer(bad, good);
    assert.deepEqual(refused?.failure, {
      reason: 'SOURCE_FAULT',
      detail: 'slots 1 and 2 (QKD, QKD) gave the same secret',
    });
    assert.deepEqual([refused?.count, made?.count, made?.failure], [0, 2, undefined]);
    assert.equal(refused?.qkdTaken, 4, 'its QKD keys would be used again');
    assert.equal(bad.producer.coming, 0);
    assert.equal(bad.producer.stream.indexes.frontier, 7, 'the indexes are not burned');
    assert.equal(good.producer.coming, 2);
    assert.equal(sourceFaults.total, 1);
    assert.equal(logged.length, 1);
    assert.match(logged[0]?.message ?? '', /a source is at fault/);
    assert.doesNotMatch(JSON.stringify(logged), /abab/);
    const again = offered(1);
    again.offer.qkd = qkdReference({ reservoir: again.producer.stream.idBytes, position: 4n });
    await bench.answer(again);
    assert.equal(sourceFaults.total, 2);
  });
});
