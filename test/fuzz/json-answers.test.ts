import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeKeyBuffer, parseJsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import { JsonClient } from '#common/etsi/json-client.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { corpus } from './corpus.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

describe('answers of key managers', () => {
  const keyValue = fc.oneof(
    fc.array(fc.oneof(fc.integer({ min: -5, max: 300 }), fc.double(), fc.constantFrom('1', null)), {
      maxLength: 40,
    }),
    fc.base64String({ maxLength: 80 }),
    fc.stringMatching(/^[0-9a-fA-F]{60,68}$/),
    fc.string({ maxLength: 80, unit: 'binary' }),
    fc.jsonValue(),
  );

  it('give a key of the agreed size, or none', () => {
    fc.assert(
      fc.property(keyValue, fc.nat(48), (value, bytes) => {
        onlyKeyweaveErrors(() => assert.equal(decodeKeyBuffer(value, bytes).length, bytes));
      }),
      {
        ...fuzzParameters(20_000),
        examples: [
          [{ length: 32 }, 32],
          [Number.NaN, 32],
          [new Array(32), 32],
          ['A'.repeat(64), 32],
          ['====', 3],
          ['', 0],
        ],
      },
    );
  });

  it('give the same key in every form in which it can be written', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 64 }), (bytes) => {
        const key = Buffer.from(bytes);
        const forms = [
          [...key],
          key.toString('hex'),
          key.toString('hex').toUpperCase(),
          key.toString('base64'),
          key.toString('base64url'),
        ];
        for (const form of forms) assert.deepEqual(decodeKeyBuffer(form, key.length), key);
      }),
      fuzzParameters(2_000),
    );
  });

  it('of any shape are read as an answer with a status, or refused', () => {
    const answer = fc.record(
      {
        status: fc.oneof(fc.integer(), fc.jsonValue()),
        STATUS: fc.jsonValue(),
        message: fc.jsonValue(),
        key_stream_id: fc.jsonValue(),
        Key_buffer: fc.jsonValue(),
        index: fc.oneof(fc.integer(), fc.double()),
        metadata: fc.oneof(fc.record({ Size: fc.integer(), buffer: fc.string() }), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(answer, fc.jsonValue()), (json) => {
        onlyKeyweaveErrors(() => {
          const { status, message, index, metadata } = parseJsonAnswer(json);
          assert.ok(Number.isSafeInteger(status));
          assert.equal(typeof message, 'string');
          assert.ok(index === undefined || Number.isSafeInteger(index));
          assert.ok(metadata === undefined || typeof metadata.buffer === 'string');
        });
      }),
      {
        ...fuzzParameters(10_000),
        examples: [[{ status: 'error' }], [JSON.parse('{"__proto__":{"status":0}}')], [[]]],
      },
    );
  });

  it('settle every request, whatever bytes come and however they are cut', async () => {
    const seeds = corpus('json-answers');
    const bytes = fc.oneof(
      fc.constantFrom(...seeds),
      mutated(seeds),
      fc.uint8Array({ maxLength: 60 }).map((some) => Buffer.from(some)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(bytes, { maxLength: 5 }),
        fc.integer({ min: 1, max: 4 }),
        async (parts, asked) => {
          const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
          const connection = new JsonClient(
            Object.assign(socket, { setNoDelay: () => socket }) as unknown as Socket,
          );
          const requests = Array.from({ length: asked }, () => connection.request(Buffer.from('{}')));
          for (const part of parts) socket.push(part);
          socket.push(null);
          for (const outcome of await Promise.allSettled(requests))
            if (outcome.status === 'rejected') assert.ok(outcome.reason instanceof Error);
          await connection.whenClosed;
          assert.ok(connection.closed && connection.answers <= asked);
        },
      ),
      {
        ...fuzzParameters(2_000),
        timeout: 5_000,
        examples: seeds.map((one): [Buffer[], number] => [[one], 2]),
      },
    );
  });
});
