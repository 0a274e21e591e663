import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { systemClock } from '#common/time/clock.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { LIVING } from '#test/helpers/streams.ts';
import { KemClient } from '../clients/kem-client.ts';
import type { KeyPairBatch } from '../clients/kem-session.ts';
import { chunkMetadata } from '../frontends/etsi004-json/answers.ts';
import type { Chunk } from '../streams/chunk-buffer.ts';
import { KeyStream } from '../streams/key-stream.ts';
import { parseStreamTerms } from '../streams/stream-terms.ts';
import { usableAlgorithms } from './usable-algorithms.ts';

const HOUR_MS = 3_600_000;
const UUIDS = ['aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa', 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb'];
const [SOURCE, DESTINATION] = UUIDS.map((uuid) => `hybrid://app@${uuid}`) as [string, string];
const TERMS = parseStreamTerms(SOURCE, DESTINATION, { method: 'xoring', keySources: ['ML-KEM-768', 'QKD'] });

/** What the gateway is made of gets this one; see its main. */
const now = systemClock.monotonicMs;

let steadyMs = 1_000;
let wallMs = 1_800_000_000_000;
mock.method(performance, 'now', () => steadyMs);
mock.method(Date, 'now', () => wallMs);

/** Time goes by. */
function pass(ms: number): void {
  steadyMs += ms;
  wallMs += ms;
}

function newStream(qos: Partial<Qos>): KeyStream {
  const none = { jitter: 0, priority: 0, ttlS: 0, minBps: 0, maxBps: 0 };
  return new KeyStream({
    id: '00112233-4455-4677-8899-aabbccddeeff',
    terms: TERMS,
    role: 'initiator',
    peerNode: UUIDS[1] as string,
    qos: { ...none, keyChunkSize: 32, timeoutMs: 5_000, metadataMimetype: 'application/json', ...qos },
    incarnation: Buffer.alloc(8),
    predefined: false,
    allowDegraded: false,
    maxPrefetchChunks: 16,
    maxBufferedChunks: 16,
    now,
  });
}

const take = (stream: KeyStream) => stream.take(undefined, 5_000, () => undefined, LIVING);

for (const [what, stepMs] of [
  ['10 minutes back', -HOUR_MS / 6],
  ['an hour back', -HOUR_MS],
  ['an hour ahead', HOUR_MS],
] as const) {
  describe(`a wall clock that is set ${what}`, () => {
    beforeEach(() => pass(24 * HOUR_MS));

    it('neither delays a key of a stream with Max_bps nor gives one early', () => {
      const stream = newStream({ maxBps: 256 });
      stream.release(0, Buffer.alloc(3 * 32), false);
      assert.ok(!(take(stream) instanceof Promise));
      wallMs += stepMs;
      const early = take(stream);
      assert.ok(early instanceof Promise, 'the second key of a second was given at once');
      early.catch(() => undefined);
      pass(2_000);
      assert.ok(!(take(stream) instanceof Promise), 'a key waits after its second');
      stream.end(new Error('over') as never);
    });

    it('leaves the age of a key what it was', () => {
      const stream = newStream({});
      stream.release(0, Buffer.alloc(32), false);
      pass(700.6);
      wallMs += stepMs;
      const chunk: Chunk = {
        index: 0,
        key: new Secret(Buffer.alloc(0)),
        availableAtMs: steadyMs,
        degraded: false,
      };
      assert.match(chunkMetadata(stream.buffer.peek() as Chunk, stream, 1_000) ?? '', /^\{"age":700,/);
      assert.match(chunkMetadata(chunk, stream, 1_000) ?? '', /^\{"age":0,/);
    });

    it('lets what is cached get old in its time', async () => {
      let asked = 0;
      const client = { listAlgorithms: async () => ({ algorithms: [], asked: ++asked }) };
      const assertUsable = usableAlgorithms(client as never, now);
      const use = () => assertUsable(TERMS).catch(() => undefined);
      await use();
      wallMs += stepMs;
      await use();
      assert.equal(asked, 1, 'asked again at once');
      pass(61_000);
      await use();
      assert.equal(asked, 2, 'believed for more than a minute');
    });

    it('retires streams of key pairs in their time', async () => {
      let opened = 0;
      const batch: KeyPairBatch = { id: 1, publicKeys: Buffer.alloc(0), session: 1 };
      const streams = new KemClient(undefined as never, now, () => {
        opened += 1;
        return { generate: async () => ({ ...batch }), close: () => undefined } as never;
      });
      const round = async () => {
        for (let i = 0; i < 4; i++) await streams.generate('ML-KEM-768', 1, 1_000);
      };
      await round();
      wallMs += stepMs;
      await round();
      assert.equal(opened, 4, 'retired at once');
      pass(61_000);
      await round();
      assert.equal(opened, 8, 'kept for more than a minute');
      streams.close();
    });
  });
}
