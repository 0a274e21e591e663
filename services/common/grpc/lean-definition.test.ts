import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfirmRequest, KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';
import { leanDefinition, uncopied } from './lean-definition.ts';

interface Method {
  path: string;
  requestSerialize(value: unknown): Uint8Array;
  requestDeserialize(bytes: Uint8Array): unknown;
}

const { confirm } = leanDefinition(KeyAgreementDefinition) as unknown as Record<string, Method>;

/** As nice-grpc makes the bytes that it sends. */
const encoded = (value: unknown): Buffer => Buffer.from((confirm as Method).requestSerialize(value));

const request = (bytes: number, value: number): ConfirmRequest => ({
  confirmations: [
    {
      keyStreamId: Buffer.alloc(16, 1),
      incarnation: Buffer.alloc(8, 2),
      firstIndex: 7,
      count: 3,
      initiatorTags: Buffer.alloc(bytes, value),
    },
  ],
});

describe('leanDefinition', () => {
  it('encodes as the generated code does, small and beyond the scratch', () => {
    assert.equal(confirm?.path, '/keyweave.v1.KeyAgreement/Confirm');
    for (const bytes of [0, 32, 100_000, 3_000_000]) {
      const message = request(bytes, 5);
      const sent = encoded(message);
      assert.ok(sent.equals(ConfirmRequest.encode(message).finish()), `${bytes} bytes`);
      assert.deepEqual(confirm?.requestDeserialize(sent), message);
    }
  });

  it('gives every message bytes of its own, with nothing of the one before', () => {
    const first = encoded(request(64, 1));
    const copy = Buffer.from(first);
    const second = encoded(request(8, 2));
    assert.deepEqual(first, copy);
    assert.ok(second.equals(ConfirmRequest.encode(request(8, 2)).finish()));
  });

  it('goes on after a message that cannot be encoded', () => {
    assert.throws(() => encoded({ confirmations: [{ firstIndex: -1 }] }));
    assert.deepEqual(confirm?.requestDeserialize(encoded(request(4, 3))), request(4, 3));
  });
});

describe('uncopied', () => {
  it('is wrapped by Buffer.from where the bytes are a whole block, and copied where they are a part', () => {
    const whole = new Uint8Array([1, 2, 3]);
    const part = whole.subarray(1);
    const [wrapped, copied] = [Buffer.from(uncopied(whole)), Buffer.from(uncopied(part))];
    whole[1] = 9;
    assert.deepEqual([...wrapped], [1, 9, 3]);
    assert.deepEqual([...copied], [2, 3]);
  });
});
