import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { leanDefinition, uncopied } from '#common/grpc/wire/lean-definition.ts';
import { ConfirmRequest, KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';

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
      assert.deepEqual(confirm?.requestDeserialize(sent), ConfirmRequest.decode(sent), `${bytes} bytes`);
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

describe('the scratch of the encoders', () => {
  /** A message whose encoder tells where its bytes are laid out. */
  const laidOut: Uint8Array[] = [];
  const type = {
    encode: (message: unknown, writer?: { bytes(value: Uint8Array): unknown }) => {
      const inner = writer as unknown as { buffer: Uint8Array };
      laidOut.push(inner.buffer);
      writer?.bytes(message as Uint8Array);
      laidOut.push(inner.buffer);
      return writer;
    },
    decode: (bytes: Uint8Array) => `decoded ${bytes.length}`,
  };
  const { go } = leanDefinition({
    fullName: 'x.Y',
    methods: {
      go: { name: 'Go', requestType: type, responseType: type, requestStream: false, responseStream: true },
    },
  } as never) as unknown as Record<string, Record<string, (value: unknown) => Uint8Array>>;

  it('holds nothing of a message afterwards, whatever its size', () => {
    const scratchBytes = 1024 * 1024;
    for (const bytes of [1, 64, 1_000_000, scratchBytes - 4, scratchBytes + 1, 3_000_000]) {
      for (const direction of ['requestSerialize', 'responseSerialize']) {
        laidOut.length = 0;
        const sent = Buffer.from(go?.[direction]?.(new Uint8Array(bytes).fill(0xee)) as Uint8Array);
        assert.ok(sent.length > bytes && sent.at(-1) === 0xee, 'what is sent was wiped, too');
        assert.equal(laidOut[0]?.length, scratchBytes);
        for (const buffer of laidOut)
          assert.ok(
            Buffer.from(buffer.buffer).equals(Buffer.alloc(buffer.byteLength)),
            `${direction} of ${bytes} bytes`,
          );
      }
    }
  });

  it('is the same for all messages', () => {
    laidOut.length = 0;
    for (let i = 0; i < 3; i++) go?.requestSerialize?.(new Uint8Array(8));
    assert.equal(new Set(laidOut).size, 1);
  });

  it('is no part of what is read, nor of a definition that is lean already', () => {
    assert.equal(go?.responseDeserialize?.(new Uint8Array(3)), 'decoded 3');
    assert.equal(go?.requestDeserialize?.(new Uint8Array(4)), 'decoded 4');
    const lean = { go } as never;
    assert.equal(leanDefinition(lean), lean);
  });
});
