import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DeriveBatch } from '#gen/keyweave/v1/hybridizer.ts';
import { ChunkContext } from './context.ts';

const digests = (...values: number[]) => Buffer.concat(values.map((value) => Buffer.alloc(32, value)));
const hex = (value: number, bytes: number) => value.toString(16).padStart(2 * bytes, '0');
const text = (words: string) => Buffer.from(words).toString('hex');

const REQUEST = DeriveBatch.fromPartial({
  method: 'hkdf-sha384',
  chunkBytes: 48,
  firstIndex: 0x01020304,
  count: 2,
  context: {
    protocolVersion: 3,
    keyStreamId: Buffer.alloc(16, 0x11),
    incarnation: Buffer.alloc(8, 0x22),
    initiatorNode: 'node-a',
    responderNode: 'node-b',
    source: 'hybrid://ä@node-a',
    destination: 'hybrid://b@node-b',
    qkdKeyStreamId: 'qkd-stream',
    qkdEpoch: 5,
    qkdPosition: 0xffff_ffffn,
    degradedSlot: 2,
  },
  slots: [
    {
      slot: { algorithm: 'ML-KEM-768', revision: 'FIPS 203' },
      publicKeyDigests: digests(0xa0, 0xa1),
      ciphertextDigests: digests(0xc0, 0xc1),
    },
    { slot: { algorithm: 'QKD' } },
  ],
});

/** The fields of a context: each stands behind its length as u32, big-endian. */
function fieldsOf(context: Buffer): string[] {
  const fields: string[] = [];
  for (let at = 0; at < context.length; ) {
    const length = context.readUInt32BE(at);
    assert.ok(at + 4 + length <= context.length, `field ${fields.length} runs past the end`);
    fields.push(context.toString('hex', at + 4, at + 4 + length));
    at += 4 + length;
  }
  return fields;
}

function contexts(request: DeriveBatch): string[][] {
  if (!request.context) throw new Error('no context');
  const context = new ChunkContext(request, request.context);
  return [0, 1].map((i) => fieldsOf(context.of(i)));
}

const expected = (i: number) => [
  hex(3, 4),
  text('hkdf-sha384'),
  '11'.repeat(16),
  '22'.repeat(8),
  hex(0x01020304 + i, 4),
  hex(48, 4),
  text('node-a'),
  text('node-b'),
  text('hybrid://ä@node-a'),
  text('hybrid://b@node-b'),
  hex(2, 4),
  // The KEM slot: public key and ciphertext are bound, chunk by chunk.
  text('ML-KEM-768'),
  text('FIPS 203'),
  hex(0xa0 + i, 1).repeat(32),
  hex(0xc0 + i, 1).repeat(32),
  // The QKD slot has neither.
  text('QKD'),
  '',
  '',
  '',
  text('qkd-stream'),
  hex(5, 4),
  hex(0xffff_ffff + i, 8),
  hex(2, 4),
];

describe('ChunkContext', () => {
  it('holds every field of the design in its order, the digests of each chunk among them', () => {
    assert.deepEqual(contexts(REQUEST), [expected(0), expected(1)]);
  });

  it('ends with the slots that were left out, where some were', () => {
    const [, qkd] = REQUEST.slots as [(typeof REQUEST.slots)[0], (typeof REQUEST.slots)[0]];
    const context = { ...(REQUEST.context as NonNullable<typeof REQUEST.context>), leftOut: 1 };
    const [fields] = contexts({ ...REQUEST, context, slots: [qkd] });
    assert.deepEqual(fields?.slice(10, 13), [hex(1, 4), text('QKD'), '']);
    assert.deepEqual(fields?.slice(-2), [hex(2, 4), hex(1, 4)]);
    assert.deepEqual(contexts({ ...REQUEST, context: { ...context, leftOut: 0 } })[0], expected(0));
  });

  it('tells digests that are missing from digests that are zero', () => {
    const [slot, qkd] = REQUEST.slots as [(typeof REQUEST.slots)[0], (typeof REQUEST.slots)[0]];
    const without = { ...REQUEST, slots: [{ ...slot, publicKeyDigests: Buffer.alloc(0) }, qkd] };
    const zero = { ...REQUEST, slots: [{ ...slot, publicKeyDigests: digests(0, 0) }, qkd] };
    assert.equal(contexts(without)[0]?.[13], '');
    assert.equal(contexts(zero)[0]?.[13], '00'.repeat(32));
  });
});
