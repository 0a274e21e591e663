import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { EncapsulateRequest } from '#gen/keyweave/v1/pqc_source.ts';
import { offerOf, ResponderBench } from '#test/helpers/responder-bench.ts';
import { ALICE, termsOf } from '#test/helpers/streams.ts';
import { slotOf } from '../../streams/stream-terms.ts';

let encapsulated: EncapsulateRequest[];
let bench: ResponderBench;

beforeEach(() => {
  encapsulated = [];
  bench = new ResponderBench({
    encapsulate: async (request) => {
      encapsulated.push(request);
      const { publicKeyBytes, ciphertextBytes, sharedSecretBytes } = slotOf(request.algorithm);
      const count = request.publicKeys.length / publicKeyBytes;
      return {
        ciphertexts: Buffer.alloc(count * ciphertextBytes),
        sharedSecrets: Buffer.alloc(count * sharedSecretBytes),
      };
    },
    derive: async ({ batches }) => ({
      batches: batches.map(({ count, chunkBytes }) => ({
        keys: Buffer.alloc(count * chunkBytes, 1),
        initiatorTags: Buffer.alloc(count * 32),
        responderTags: Buffer.alloc(count * 32),
        failure: undefined,
      })),
    }),
  });
});

/** An offer of `count` chunks of a stream of its own. */
function offered(keySources: string[], count: number, keyChunkSize = 32) {
  const producer = bench.producer({
    terms: termsOf('hkdf-sha384', keySources),
    qos: { keyChunkSize, timeoutMs: 1000, metadataMimetype: '' },
    maxPrefetchChunks: 2048,
    maxBufferedChunks: 2048,
  });
  return { offer: offerOf(producer, count), producer };
}

const itemsOf = () =>
  encapsulated.reduce(
    (sum, { algorithm, publicKeys }) => sum + publicKeys.length / slotOf(algorithm).publicKeyBytes,
    0,
  );

describe('ResponderRound', () => {
  it('makes no more of a batch than this node makes at a time, and says so', async () => {
    const [light] = await bench.answer(offered(['ML-KEM-768'], 256));
    assert.deepEqual([light?.count, light?.most], [64, 64]);
    assert.equal(light?.ciphertexts[0]?.ciphertexts.length, 64 * 1088);
    const [medium] = await bench.answer(offered(['HQC-128'], 200));
    assert.deepEqual([medium?.count, medium?.most], [8, 8]);
    const [heavy] = await bench.answer(offered(['Classic-McEliece-348864'], 12));
    assert.deepEqual([heavy?.count, heavy?.most], [1, 1]);
    assert.equal(itemsOf(), 64 + 8 + 1);
  });

  it('bounds the work of a whole message, and refuses in words what is beyond', async () => {
    const offers = Array.from({ length: 100 }, () => offered(['sntrup761'], 8));
    const answers = await bench.answer(...offers);
    assert.equal(itemsOf(), 256);
    assert.equal(answers.length, 100);
    assert.equal(answers.filter(({ count }) => count === 8).length, 32);
    const last = answers.at(-1)?.failure;
    assert.equal(last?.reason, 'LIMIT_EXCEEDED');
    assert.match(last?.detail ?? '', /more than one message may/);
  });

  it('bounds the bytes of a whole message', async () => {
    bench.maxBatchChunks = 1024;
    const answers = await bench.answer(
      ...Array.from({ length: 60 }, () => offered(['ML-KEM-768'], 64, 12_240)),
    );
    const chunks = answers.reduce((sum, { count }) => sum + count, 0);
    assert.ok(chunks * 12_240 <= 2 * 1024 * 1024, `${chunks} chunks of 12,240 bytes`);
    assert.ok(chunks > 100);
  });

  it('leaves a stream whose offer it refuses for lack of room as it was', async () => {
    const refused = offered(['ML-KEM-768'], 64);
    const flood = Array.from({ length: 16 }, () => offered(['ML-KEM-768'], 64));
    const answers = await bench.answer(...flood, refused);
    assert.equal(answers.at(-1)?.failure?.reason, 'LIMIT_EXCEEDED');
    const [again] = await bench.answer(refused);
    assert.equal(again?.count, 64);
  });

  it('says to pqc-source on whose account it asks', async () => {
    await bench.answer(offered(['ML-KEM-768'], 1));
    assert.equal(encapsulated[0]?.peerNode, ALICE);
  });

  it('asks pqc-source for no more of a slow KEM at a time than others can wait for', async () => {
    await bench.answer(...Array.from({ length: 20 }, () => offered(['HQC-128'], 8)));
    assert.equal(itemsOf(), 160);
    for (const { publicKeys } of encapsulated) assert.ok(publicKeys.length <= 32 * 2249);
  });
});
