import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Secret } from '#common/crypto/secret.ts';
import { headed } from '#common/etsi/etsi004-binary-codec.ts';
import { createClient, KeyStreamError } from '../../services/client/main.ts';
import * as binary from '../../services/gateway/frontends/etsi004-binary/answers.ts';
import * as json from '../../services/gateway/frontends/etsi004-json/answers.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { mutated } from './hostile-bytes.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const QOS = {
  ...{ keyChunkSize: 32, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 1, ttlS: 60 },
  metadataMimetype: 'application/json',
};
const OPENED = { ksid: KSID, qos: QOS };

/** A key that shows wherever it gets to. */
const KEY = Buffer.alloc(32, 0xa7);
const delivered = () => ({ index: 3, key: new Secret(Buffer.from(KEY)), metadata: '{"age":1,"hops":0}' });

const ANSWERS = {
  json: [
    json.openAnswer({ ...OPENED, adjusted: undefined }),
    json.openAnswer({ ...OPENED, adjusted: 'less' }),
    json.keyAnswer(delivered()),
    json.errorAnswer({ reason: 'TIMEOUT', detail: 'late' }),
    Buffer.from('{"status":0,"key_stream_id":7}'),
    Buffer.from('{"status":7,"key_stream_id":"","qos":null}'),
    Buffer.from('{"status":0,"key_stream_id":"k","qos":{"key_chunk_size":"32","timeout":-1}}'),
    Buffer.from(`{"status":0,"key_buffer":"${KEY.toString('hex')}"}`),
    Buffer.from(
      `{"status":0,"key_buffer":[${[...KEY].join()}],"index":-1,"metadata":{"size":1,"buffer":[]}}`,
    ),
    Buffer.from(`{"status":0,"key_buffer":[${[...KEY, 1].join()}],"index":4294967295}`),
    Buffer.from('{"Status":1e9,"message":{"a":1}}'),
  ],
  binary: [
    binary.openAnswer({ ...OPENED, isAdjusted: false }),
    binary.openAnswer({ ...OPENED, isAdjusted: true }),
    binary.keyAnswer(delivered()),
    binary.closeAnswer(),
    binary.errorAnswer(2, { reason: 'TIMEOUT', detail: '' }),
    ...[0, 3, 4, 8, 15, 16, 304].flatMap((bytes) =>
      [3, 5, 9].flatMap((type) => [
        headed(type, Buffer.alloc(8 + bytes)),
        headed(type, Buffer.alloc(8 + bytes, 0xff)),
      ]),
    ),
    headed(5, Buffer.concat([Buffer.alloc(16), Buffer.from('ffffffff', 'hex'), KEY])),
  ],
} as const;

/** What a call gives, or the error that it may fail with; any other failure fails the test. */
async function outcome<T>(call: Promise<T>): Promise<T | KeyStreamError> {
  try {
    return await call;
  } catch (thrown) {
    assert.ok(thrown instanceof KeyStreamError, String((thrown as Error).stack));
    const told = `${thrown.message} ${thrown.remedy} ${thrown.cause}`;
    assert.ok(!/a7a7a7|167,167|\xa7\xa7/.test(told), told);
    return thrown;
  }
}

describe('a client whose node answers what it likes', () => {
  for (const transport of ['json', 'binary'] as const)
    it(`over ${transport}: gives whole keys or errors of its own, and no word of a key`, async (t) => {
      let answers: { bytes: Buffer; cuts: readonly number[] }[] = [];
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.once('data', () => {
          const { bytes, cuts } = answers.shift() ?? { bytes: Buffer.alloc(0), cuts: [] };
          let from = 0;
          for (const cut of [...cuts].sort((a, b) => a - b)) {
            socket.write(bytes.subarray(from, cut));
            from = Math.max(from, cut);
          }
          socket.end(bytes.subarray(from));
        });
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      t.after(() => server.close());
      const { port } = server.address() as { port: number };
      const corpus = ANSWERS[transport];
      /** Whatever it likes, and often enough what it should. */
      const answer = (sound: Buffer) =>
        fc.record({
          bytes: fc.oneof(
            { weight: 2, arbitrary: fc.constant(sound) },
            { weight: 3, arbitrary: mutated(corpus) },
            { weight: 1, arbitrary: fc.constantFrom(...corpus) },
            { weight: 1, arbitrary: fc.uint8Array({ maxLength: 99 }) },
          ),
          cuts: fc.array(fc.nat(400), { maxLength: 4 }),
        });
      const [opened, , taken] = corpus;
      const conversation = fc.tuple(answer(opened), answer(taken), answer(corpus[3]));
      let keys = 0;
      const property = fc.asyncProperty(conversation, async (given) => {
        answers = given.map(({ bytes, cuts }) => ({ bytes: Buffer.from(bytes), cuts }));
        using client = await createClient({
          ...{ transport, host: '127.0.0.1', port, retry: false, limits: { marginMs: 2_000 } },
        });
        const open = await outcome(
          client.open({ source: 'hybrid://a@x', destination: 'hybrid://b@y', qos: QOS }),
        );
        const stream =
          open instanceof KeyStreamError ? client.resume({ ksid: KSID, qos: QOS, position: 0 }) : open;
        const key = await outcome(stream.next());
        if (!(key instanceof KeyStreamError)) {
          keys += 1;
          assert.equal(key.key.length, stream.qos.keyChunkSize);
          assert.ok(Number.isInteger(key.index) && key.index >= 0);
          assert.equal(typeof key.metadata, 'object');
        }
        await outcome(stream.close());
      });
      await fc.assert(property, fuzzParameters(300, 2));
      assert.ok(keys > 0, 'no key ever came');
    });
});
