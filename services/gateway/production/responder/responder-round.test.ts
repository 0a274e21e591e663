import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { beforeEach, describe, it } from 'node:test';
import { silentLog } from '#common/log/silent-log.ts';
import type { DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import type { BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { EncapsulateRequest } from '#gen/keyweave/v1/pqc_source.ts';
import type { NodeServices } from '../../clients/node-services.ts';
import { KeyStream } from '../../streams/key-stream.ts';
import { parseStreamTerms, slotOf } from '../../streams/stream-terms.ts';
import { HeldBatches } from './held-batches.ts';
import { answerRound } from './responder-round.ts';

const PEER = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';

let encapsulated: EncapsulateRequest[];
let services: NodeServices;

beforeEach(() => {
  encapsulated = [];
  services = {
    now: () => 0,
    log: silentLog,
    limits: { max_batch_chunks: 64 },
    pqcSource: {
      encapsulate: async (request: EncapsulateRequest) => {
        encapsulated.push(request);
        const { publicKeyBytes, ciphertextBytes, sharedSecretBytes } = slotOf(request.algorithm);
        const count = request.publicKeys.length / publicKeyBytes;
        return {
          ciphertexts: Buffer.alloc(count * ciphertextBytes),
          sharedSecrets: Buffer.alloc(count * sharedSecretBytes),
        };
      },
    },
    hybridizer: {
      derive: async ({ batches }: DeriveRequest) => ({
        batches: batches.map(({ count, chunkBytes }) => ({
          keys: Buffer.alloc(count * chunkBytes, 1),
          initiatorTags: Buffer.alloc(count * 32),
          responderTags: Buffer.alloc(count * 32),
        })),
      }),
    },
  } as unknown as NodeServices;
});

/** An offer of `count` chunks of a stream of its own. */
function offered(keySources: string[], count: number, keyChunkSize = 32) {
  const stream = new KeyStream({
    id: randomUUID(),
    terms: parseStreamTerms(`hybrid://app@${PEER}`, 'hybrid://app@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb', {
      method: 'hkdf-sha384',
      keySources,
    }),
    incarnation: Buffer.alloc(8),
    role: 'responder',
    peerNode: PEER,
    qos: {
      ...{ keyChunkSize, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 1000, ttlS: 0 },
      metadataMimetype: '',
    },
    predefined: false,
    allowDegraded: false,
    maxPrefetchChunks: 2048,
    maxBufferedChunks: 2048,
    now: () => 0,
  });
  const offer: BatchOffer = {
    keyStreamId: stream.idBytes,
    incarnation: stream.incarnation,
    firstIndex: 0,
    count,
    publicKeys: stream.terms.slots.map((one, slot) => ({
      slot,
      publicKeys: Buffer.alloc(count * one.publicKeyBytes),
    })),
    qkd: undefined,
    degradedSlot: 0,
  };
  return { offer, exchange: new HeldBatches(services, stream) };
}

const itemsOf = () =>
  encapsulated.reduce(
    (sum, { algorithm, publicKeys }) => sum + publicKeys.length / slotOf(algorithm).publicKeyBytes,
    0,
  );

describe('answerRound', () => {
  it('makes no more of a batch than this node makes at a time, and says so', async () => {
    const [light] = await answerRound(services, [offered(['ML-KEM-768'], 256)]);
    assert.deepEqual([light?.count, light?.most], [64, 64]);
    assert.equal(light?.ciphertexts[0]?.ciphertexts.length, 64 * 1088);
    const [medium] = await answerRound(services, [offered(['HQC-128'], 200)]);
    assert.deepEqual([medium?.count, medium?.most], [8, 8]);
    const [heavy] = await answerRound(services, [offered(['Classic-McEliece-348864'], 12)]);
    assert.deepEqual([heavy?.count, heavy?.most], [1, 1]);
    assert.equal(itemsOf(), 64 + 8 + 1);
  });

  it('bounds the work of a whole message, and refuses in words what is beyond', async () => {
    const offers = Array.from({ length: 100 }, () => offered(['sntrup761'], 8));
    const answers = await answerRound(services, offers);
    assert.equal(itemsOf(), 256);
    assert.equal(answers.length, 100);
    assert.equal(answers.filter(({ count }) => count === 8).length, 32);
    const last = answers.at(-1)?.failure;
    assert.equal(last?.reason, 'LIMIT_EXCEEDED');
    assert.match(last?.detail ?? '', /more than one message may/);
  });

  it('bounds the bytes of a whole message', async () => {
    services.limits.max_batch_chunks = 1024;
    const answers = await answerRound(
      services,
      Array.from({ length: 60 }, () => offered(['ML-KEM-768'], 64, 12_240)),
    );
    const chunks = answers.reduce((sum, { count }) => sum + count, 0);
    assert.ok(chunks * 12_240 <= 2 * 1024 * 1024, `${chunks} chunks of 12,240 bytes`);
    assert.ok(chunks > 100);
  });

  it('leaves a stream whose offer it refuses for lack of room as it was', async () => {
    const refused = offered(['ML-KEM-768'], 64);
    const flood = Array.from({ length: 16 }, () => offered(['ML-KEM-768'], 64));
    const answers = await answerRound(services, [...flood, refused]);
    assert.equal(answers.at(-1)?.failure?.reason, 'LIMIT_EXCEEDED');
    const [again] = await answerRound(services, [refused]);
    assert.equal(again?.count, 64);
  });

  it('says to pqc-source on whose account it asks', async () => {
    await answerRound(services, [offered(['ML-KEM-768'], 1)]);
    assert.equal(encapsulated[0]?.peerNode, PEER);
  });

  it('asks pqc-source for no more of a slow KEM at a time than others can wait for', async () => {
    await answerRound(
      services,
      Array.from({ length: 20 }, () => offered(['HQC-128'], 8)),
    );
    assert.equal(itemsOf(), 160);
    for (const { publicKeys } of encapsulated) assert.ok(publicKeys.length <= 32 * 2249);
  });
});
