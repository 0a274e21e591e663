import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock } from '#common/time/clock.ts';
import type { DerivedBatch, DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import { keyStream } from '#test/helpers/streams.ts';
import { createHybridizerClient, type DerivedKeys } from '../clients/hybridizer-client.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { deriveTogether } from './derivation.ts';
import type { BatchInputs } from './slot-inputs.ts';

const streamOf = (keyChunkSize: number): KeyStream =>
  keyStream({
    id: '00112233-4455-4677-8899-aabbccddeeff',
    role: 'responder',
    qos: { keyChunkSize, timeoutMs: 1_000 },
  });

function inputsOf(count: number, keyChunkSize: number): BatchInputs {
  const slots = [1, 2].map((fill) => ({ secrets: Buffer.alloc(count * 32, fill) }));
  return { stream: streamOf(keyChunkSize), first: 0, count, slots, qkd: undefined, standIn: undefined };
}

/** A hybridizer whose answers are views of one message, as they come off the wire. */
function hybridizerOf(message: Buffer, answers: DerivedBatch[]) {
  let at = 0;
  const cut = (bytes: number, fill: number) => {
    const part = message.subarray(at, at + bytes).fill(fill);
    at += bytes;
    return part;
  };
  return {
    derive: async (request: object) => {
      const { batches } = request as DeriveRequest;
      for (const { count, chunkBytes } of batches) {
        answers.push({
          keys: cut(count * chunkBytes, 0xaa),
          initiatorTags: cut(count * 32, 0x11),
          responderTags: cut(count * 32, 0x22),
          failure: undefined,
        });
      }
      return { batches: answers };
    },
  };
}

describe('derived batches', () => {
  for (const [count, keyChunkSize] of [
    [1, 32],
    [256, 32],
    [4, 12_240],
  ] as const) {
    it(`of ${count} keys of ${keyChunkSize} bytes lie in memory of their own, and what they came in is wiped`, async () => {
      const message = Buffer.alloc(1024 * 1024);
      const answers: DerivedBatch[] = [];
      const services = createHybridizerClient(hybridizerOf(message, answers));
      const inputs = [inputsOf(count, keyChunkSize), inputsOf(count, keyChunkSize)];
      const derived = (await deriveTogether(
        { hybridizer: services, clock: systemClock },
        inputs,
      )) as DerivedKeys[];
      assert.equal(derived.length, 2);
      for (const { keys, initiatorTags, responderTags } of derived) {
        assert.ok(keys.length === count * keyChunkSize && keys.every((byte) => byte === 0xaa));
        assert.ok(initiatorTags.length === count * 32 && initiatorTags.every((byte) => byte === 0x11));
        assert.ok(responderTags.length === count * 32 && responderTags.every((byte) => byte === 0x22));
        for (const [what, kept] of Object.entries({ keys, initiatorTags })) {
          assert.equal(kept.buffer.byteLength, kept.length, `${what}: what stays in memory for them`);
        }
      }
      for (const { keys } of answers) assert.ok(keys.every((byte) => byte === 0));
      for (const { slots } of inputs)
        for (const { secrets } of slots) assert.ok(secrets.every((byte) => byte === 0));
    });
  }

  it('of a wrong size are refused, and wiped', async () => {
    const inputs = inputsOf(2, 32);
    const answers = [
      { keys: Buffer.alloc(63, 1), initiatorTags: Buffer.alloc(64), responderTags: Buffer.alloc(64) },
    ];
    const services = createHybridizerClient({ derive: (async () => ({ batches: answers })) as never });
    const [refused] = await deriveTogether({ hybridizer: services, clock: systemClock }, [inputs]);
    assert.match(String(refused), /INTERNAL: the hybridizer answered with keys of the wrong size/);
    assert.ok(answers[0]?.keys.every((byte) => byte === 0));
  });
});

describe('a stream', () => {
  it('keeps its KSID in memory of its own', () => {
    const { idBytes } = streamOf(32);
    assert.equal(idBytes.toString('hex'), '00112233445546778899aabbccddeeff');
    assert.equal(idBytes.buffer.byteLength, 16);
  });
});
