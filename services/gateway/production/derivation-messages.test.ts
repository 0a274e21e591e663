import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { MAX_MESSAGE_BYTES } from '#common/grpc/channel-options.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { systemClock } from '#common/time/clock.ts';
import { DeriveRequest, DeriveResponse } from '#gen/keyweave/v1/hybridizer.ts';
import { createHybridizerClient } from '../clients/hybridizer-client.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { parseStreamTerms, slotOf } from '../streams/stream-terms.ts';
import { deriveTogether } from './derivation.ts';
import type { BatchInputs } from './slot-inputs.ts';

/** A hybridizer behind messages of limited size, as the real one is. */
function hybridizer() {
  const calls: number[] = [];
  const sizes: number[] = [];
  const derive = async (request: DeriveRequest) => {
    calls.push(request.batches.length);
    assert.ok(request.batches.length <= MESSAGE_LIMITS.deriveBatches.taken);
    const bytes = DeriveRequest.encode(request).finish().length;
    assert.ok(bytes <= MAX_MESSAGE_BYTES, 'the question is too long');
    sizes.push(bytes);
    const response = {
      batches: request.batches.map(({ count, chunkBytes, firstIndex }) => ({
        keys: Buffer.alloc(count * chunkBytes, firstIndex),
        initiatorTags: Buffer.alloc(count * 32),
        responderTags: Buffer.alloc(count * 32),
        failure: undefined,
      })),
    };
    const answerBytes = DeriveResponse.encode(response).finish().length;
    assert.ok(answerBytes <= MAX_MESSAGE_BYTES, 'the answer is too long');
    sizes.push(Math.max(sizes.pop() as number, answerBytes));
    return response;
  };
  return { services: createHybridizerClient({ derive: derive as never }), calls, sizes };
}

function inputs(first: number, count: number, app = 'app', keyChunkSize = 32): BatchInputs {
  const id = randomUUID();
  const stream = {
    idBytes: Buffer.from(id.replaceAll('-', ''), 'hex'),
    incarnation: Buffer.alloc(8),
    terms: parseStreamTerms(
      `hybrid://${app}@aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa`,
      `hybrid://${app}@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb`,
      { method: 'hkdf-sha384', keySources: ['QKD'] },
    ),
    qos: { keyChunkSize },
  } as unknown as KeyStream;
  const slots = [{ secrets: Buffer.alloc(32 * count, 9) }];
  return { stream, first, count, slots, qkd: undefined, standIn: undefined };
}

describe('deriveTogether', () => {
  it('asks once for what fits one message', async () => {
    const { services, calls } = hybridizer();
    const derived = await deriveTogether({ hybridizer: services, clock: systemClock }, [
      inputs(0, 2),
      inputs(1, 3),
    ]);
    assert.deepEqual(calls, [2]);
    assert.deepEqual(
      derived.map((one) => (one instanceof Error ? one : one.keys.length)),
      [64, 96],
    );
  });

  it('asks again for what does not, in order, whatever one application has put into its names', async () => {
    const long = 'ä'.repeat(3_900);
    for (const many of [
      Array.from({ length: 384 }, (_, i) => inputs(i % 256, 1, long)),
      Array.from({ length: 256 }, (_, i) => inputs(i, 4, 'app', 12_240)),
    ]) {
      const { services, calls } = hybridizer();
      const secrets = many.map(({ slots }) => slots[0]?.secrets as Buffer);
      const derived = await deriveTogether({ hybridizer: services, clock: systemClock }, many);
      assert.ok(calls.length > 1);
      assert.equal(derived.length, many.length);
      for (const [i, one] of derived.entries()) {
        if (one instanceof Error) throw one;
        assert.equal(one.keys[0], i % 256);
      }
      assert.ok(secrets.every((bytes) => bytes.every((byte) => byte === 0)));
    }
  });

  it('fills each message, and none beyond its limit, whatever weighs most', async () => {
    const ofSlots = (count: number, slots: number) => {
      const one = inputs(0, count);
      // Its digests weigh the same, and there is less to digest.
      const kem = { ...slotOf('ML-KEM-768'), publicKeyBytes: 1, ciphertextBytes: 1 };
      const terms = { ...one.stream.terms, slots: Array(slots).fill(kem) };
      const contribution = () => ({
        secrets: Buffer.alloc(32 * count),
        publicKeys: Buffer.alloc(kem.publicKeyBytes * count),
        ciphertexts: Buffer.alloc(kem.ciphertextBytes * count),
      });
      const stream = { ...one.stream, terms } as unknown as KeyStream;
      return { ...one, stream, slots: Array.from({ length: slots }, contribution) };
    };
    const most = MESSAGE_LIMITS.deriveBytes.filled;
    for (const many of [
      Array.from({ length: 100 }, () => ofSlots(64, 16)),
      Array.from({ length: 300 }, (_, i) => inputs(i % 256, 1, '\u{ac00}'.repeat(3_900))),
      Array.from({ length: 60 }, (_, i) => inputs(i, 4, 'app', 65_536)),
    ]) {
      const { services, sizes } = hybridizer();
      await deriveTogether({ hybridizer: services, clock: systemClock }, many);
      assert.ok(sizes.length > 2);
      for (const bytes of sizes) assert.ok(bytes <= most, `${bytes} bytes`);
      for (const bytes of sizes.slice(0, -1)) assert.ok(bytes > 0.85 * most, `only ${bytes} bytes`);
    }
  });

  it('puts no more batches into one message than the hybridizer takes', async () => {
    const { services, calls } = hybridizer();
    const many = MESSAGE_LIMITS.deriveBatches.filled + 1;
    await deriveTogether(
      { hybridizer: services, clock: systemClock },
      Array.from({ length: many }, () => inputs(0, 1)),
    );
    assert.deepEqual(calls, [many - 1, 1]);
  });
});
