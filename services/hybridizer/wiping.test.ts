import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { describe, it } from 'node:test';
import { asBuffer } from '#common/crypto/bytes.ts';
import { DeriveBatch } from '#gen/keyweave/v1/hybridizer.ts';

/** Every digest and every key that is made, and every buffer of the modules below, so that what is left in them can be seen. */
const digests: Buffer[] = [];
const allocated: Buffer[] = [];
const { hash } = crypto;
crypto.hash = ((...args: Parameters<typeof hash>) => {
  const digest = hash(...args) as unknown;
  if (Buffer.isBuffer(digest)) digests.push(digest);
  return digest;
}) as typeof hash;
const { hkdfSync } = crypto;
crypto.hkdfSync = (...args: Parameters<typeof hkdfSync>) => {
  const made = hkdfSync(...args);
  digests.push(Buffer.from(made));
  return made;
};
syncBuiltinESMExports();
const { alloc } = Buffer;
Buffer.alloc = ((...args: Parameters<typeof alloc>) => {
  const buffer = alloc(...args);
  allocated.push(buffer);
  return buffer;
}) as typeof alloc;

// Only now, since they take `hash` and their own buffers when they are loaded.
const { BUILT_IN_METHODS } = await import('./methods/built-in-methods.ts');
const { deriveBatch } = await import('./derive-batch.ts');
const { ChunkContext } = await import('./context.ts');
const { hmac } = await import('./hmac-hkdf.ts');

const isZero = (bytes: Buffer) => bytes.every((byte) => byte === 0);

/** Two secrets longer than any block, so that keys are hashed too; URIs that outgrow the first scratch. */
function request(method: string, chunkBytes: number, secretBytes: number, uriBytes: number): DeriveBatch {
  return DeriveBatch.fromPartial({
    method,
    chunkBytes,
    count: 1,
    context: { source: 's'.repeat(uriBytes) },
    slots: [1, 2].map((value) => ({
      slot: { algorithm: 'QKD' },
      secrets: Buffer.from(new Uint8Array(secretBytes).fill(value)),
      secretBytes,
    })),
  });
}

const cases = [...BUILT_IN_METHODS.keys()].flatMap((method) =>
  [
    { secretBytes: 32, uriBytes: 10 },
    { secretBytes: 300, uriBytes: 10 },
    { secretBytes: 32, uriBytes: 5_000 },
  ].map((sizes) => ({ method, ...sizes })),
);

describe('what lies around after a derivation', () => {
  for (const { method, secretBytes, uriBytes } of cases) {
    it(`${method}: nothing of secrets of ${secretBytes} bytes, context of over ${uriBytes}`, async () => {
      const chunkBytes = ['xoring', 'hmac', 'xorhmac'].includes(method) ? 32 : 120;
      const batch = request(method, chunkBytes, secretBytes, uriBytes);
      assert.ok(batch.context);
      const context = Buffer.from(new ChunkContext(batch, batch.context).of(0));
      digests.length = 0;
      const { initiatorTags, responderTags } = await deriveBatch(BUILT_IN_METHODS, batch);
      assert.ok(digests.length > 4, 'the digests were not seen');
      // The transcript and the tags are for everybody to see.
      const open = [
        hash('sha256', context, 'hex'),
        asBuffer(initiatorTags).toString('hex'),
        asBuffer(responderTags).toString('hex'),
      ];
      const left = digests.filter((digest) => !isZero(digest) && !open.includes(digest.toString('hex')));
      assert.equal(left.length, 0, `${left.length} of ${digests.length} digests were not wiped`);
      const dirty = allocated.filter((buffer) => buffer.length >= 32 && !isZero(buffer));
      assert.deepEqual(
        dirty.map((buffer) => buffer.length),
        [],
        'bytes of buffers that were not wiped',
      );
    });
  }
});

describe('what lies around after an HMAC', () => {
  it('is nothing, of messages shorter and longer than the hash', () => {
    for (const messageBytes of [0, 1, 31, 33, 9_000]) {
      digests.length = 0;
      const mac = hmac('sha256', alloc(32, 7), alloc(messageBytes, 9));
      assert.ok(digests.every((digest) => digest === mac || isZero(digest)));
      assert.ok(
        allocated.every((buffer) => buffer.length < 32 || isZero(buffer)),
        `${messageBytes} bytes`,
      );
    }
  });
});

describe('every method', () => {
  for (const [name, method] of BUILT_IN_METHODS) {
    it(`${name} fills all of a buffer whatever it held, and changes nothing else`, () => {
      const secrets = [Buffer.from('a'.repeat(32)), Buffer.from('B'.repeat(32))];
      const context = Buffer.from('context');
      const outs = [0x00, 0xff].map((held) => Buffer.from(new Uint8Array(32).fill(held)));
      for (const out of outs) method.derive(secrets, context, out);
      assert.deepEqual(outs[0], outs[1]);
      assert.deepEqual([...secrets, context].map(String), ['a'.repeat(32), 'B'.repeat(32), 'context']);
    });
  }
});
