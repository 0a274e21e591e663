import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import type { BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { FetchKeysRequest } from '#gen/keyweave/v1/qkd_source.ts';
import type { NodeServices } from '../../clients/node-services.ts';
import { KeyStream } from '../../streams/key-stream.ts';
import { parseStreamTerms } from '../../streams/stream-terms.ts';
import { SourceFaults } from '../source-faults.ts';
import { HeldBatches } from './held-batches.ts';
import { answerRound } from './responder-round.ts';

let logged: { message: string; fields: unknown }[];
let services: NodeServices;
/** Streams whose batches the hybridizer finds at fault, by the first byte of their KSID. */
let faulty: Set<number>;

beforeEach(() => {
  logged = [];
  faulty = new Set();
  const log: Log = { ...silentLog, error: (message, fields) => logged.push({ message, fields }) };
  const nothing = Buffer.alloc(0);
  services = {
    now: () => 0,
    log,
    limits: { max_batch_chunks: 64 },
    sourceFaults: new SourceFaults(log),
    qkd: { timeout: 1_000 },
    qkdSource: {
      openQkd: async () => ({ qkdKeyStreamId: 'qkd' }),
      fetchKeys: async ({ fetches }: FetchKeysRequest) => ({
        results: fetches.map(({ count }) => ({ keys: Buffer.alloc(count * 32, 0xab), failure: undefined })),
      }),
    },
    hybridizer: {
      derive: async ({ batches }: DeriveRequest) => ({
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
    },
  } as unknown as NodeServices;
});

function exchangeOf(digit: number): { exchange: HeldBatches; offer: BatchOffer } {
  const stream = new KeyStream({
    id: `${digit}1111111-1111-4111-8111-111111111111`,
    terms: parseStreamTerms(
      'hybrid://app@aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
      'hybrid://app@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
      { method: 'xoring', keySources: ['QKD', 'QKD'] },
    ),
    incarnation: Buffer.alloc(8),
    role: 'responder',
    peerNode: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
    qos: {
      ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 1000, ttlS: 0 },
      metadataMimetype: '',
    },
    predefined: false,
    allowDegraded: false,
    maxPrefetchChunks: 16,
    maxBufferedChunks: 16,
    now: () => 0,
  });
  const offer: BatchOffer = {
    keyStreamId: stream.idBytes,
    incarnation: stream.incarnation,
    firstIndex: 5,
    count: 2,
    publicKeys: [],
    qkd: { epoch: 0, qkdKeyStreamId: '', position: 0n, blockKeys: 1 },
    degradedSlot: 0,
  };
  return { exchange: new HeldBatches(services, stream), offer };
}

describe('answerRound', () => {
  it('drops the batch of a source at fault, counts and logs it as that, and makes the others', async () => {
    const [bad, good] = [exchangeOf(1), exchangeOf(2)];
    faulty.add(0x11);
    const [refused, made] = await answerRound(services, [bad, good]);
    assert.deepEqual(refused?.failure, {
      reason: 'SOURCE_FAULT',
      detail: 'slots 1 and 2 (QKD, QKD) gave the same secret',
    });
    assert.deepEqual([refused?.count, made?.count, made?.failure], [0, 2, undefined]);
    assert.equal(bad.exchange.coming, 0);
    assert.equal(bad.exchange.stream.buffer.nextIndex, 7, 'the indexes are not burned');
    assert.equal(good.exchange.coming, 2);
    assert.equal(services.sourceFaults.total, 1);
    assert.equal(logged.length, 1);
    assert.match(logged[0]?.message ?? '', /a source is at fault/);
    assert.doesNotMatch(JSON.stringify(logged), /abab/);
    await answerRound(services, [exchangeOf(1)]);
    assert.equal(services.sourceFaults.total, 2);
  });
});
