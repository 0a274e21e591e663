import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { HYBRIDIZATION_METHODS } from '#common/catalogue/methods.ts';
import { asBuffer } from '#common/crypto/bytes.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { DeriveBatch } from '#gen/keyweave/v1/hybridizer.ts';
import { deriveBatch, deriveBatches } from './derive-batch.ts';
import { BUILT_IN_METHODS } from './methods/built-in-methods.ts';

interface Compat {
  inputs: Record<string, string>;
  vectors: { method: string; keys: string[]; key: string }[];
}

const compat = JSON.parse(
  readFileSync(new URL('../../test/vectors/hybridization-compat.json', import.meta.url), 'utf8'),
) as Compat;
if (compat.vectors.length === 0) throw new Error('the vector file is empty');

const A = Buffer.from(compat.inputs.A ?? '', 'hex');
const B = Buffer.from(compat.inputs.B ?? '', 'hex');

function request(
  method: string,
  chunkBytes: number,
  secrets: readonly Buffer[],
  change: object = {},
): DeriveBatch {
  return DeriveBatch.fromPartial({
    method,
    chunkBytes,
    firstIndex: 7,
    count: 1,
    context: { protocolVersion: 1, keyStreamId: Buffer.alloc(16, 1), source: 's', destination: 'd' },
    slots: secrets.map((secret) => ({
      slot: { algorithm: 'QKD' },
      secrets: Buffer.from(secret),
      secretBytes: secret.length,
    })),
    ...change,
  });
}

const derive = (r: DeriveBatch) => deriveBatch(BUILT_IN_METHODS, r);

describe('the compatible methods', () => {
  for (const { method, keys, key } of compat.vectors) {
    if (new Set(keys).size < keys.length) {
      it(`${method} of ${keys} is the reference's, and is never given out`, async () => {
        const secrets = keys.map((name) => Buffer.from(compat.inputs[name] ?? '', 'hex'));
        const out = Buffer.alloc(key.length / 2);
        BUILT_IN_METHODS.get(method)?.derive(secrets, Buffer.alloc(0), out);
        assert.equal(out.toString('hex'), key);
        await assert.rejects(derive(request(method, 16, secrets)), (error) =>
          isReason(error, 'SOURCE_FAULT'),
        );
      });
      continue;
    }

    it(`${method} of ${keys} is the reference's, in any order and cut at 16`, async () => {
      const secrets = keys.map((name) => Buffer.from(compat.inputs[name] ?? '', 'hex'));
      const expected = Buffer.from(key, 'hex');
      const whole = await derive(request(method, expected.length, secrets));
      assert.equal(asBuffer(whole.keys).toString('hex'), key);
      const reversed = await derive(request(method, expected.length, secrets.toReversed()));
      assert.equal(asBuffer(reversed.keys).toString('hex'), key);
      const short = await derive(request(method, 16, secrets));
      assert.equal(asBuffer(short.keys).toString('hex'), expected.subarray(0, 16).toString('hex'));
    });

    it(`${method} of ${keys} refuses what it cannot fill and names the largest size`, async () => {
      const secrets = keys.map((name) => Buffer.from(compat.inputs[name] ?? '', 'hex'));
      const largest = Buffer.from(key, 'hex').length;
      await assert.rejects(derive(request(method, largest + 1, secrets)), (error: Error) => {
        assert.ok(isReason(error, 'QOS_NOT_MET'));
        assert.match(error.message, new RegExp(`largest possible size is ${largest}$`));
        return true;
      });
    });
  }
});

describe('every method', () => {
  for (const { name, maxChunkBytes } of HYBRIDIZATION_METHODS) {
    it(`${name} binds its tags to every field of the context`, async () => {
      const base = await derive(request(name, 16, [A, B]));
      const context = request(name, 16, [A, B]).context as object;
      const changes: object[] = [
        { firstIndex: 8 },
        { chunkBytes: 8 },
        ...Object.entries({
          protocolVersion: 2,
          keyStreamId: Buffer.alloc(16, 2),
          incarnation: Buffer.alloc(8, 2),
          initiatorNode: 'x',
          responderNode: 'x',
          source: 'x',
          destination: 'x',
          qkdKeyStreamId: 'x',
          qkdEpoch: 1,
          qkdPosition: 1n,
          degradedSlot: 1,
        }).map(([field, value]) => ({ context: { ...context, [field]: value } })),
      ];
      for (const change of changes) {
        const other = await derive(request(name, 16, [A, B], change));
        assert.notDeepEqual(other.initiatorTags, base.initiatorTags, JSON.stringify(Object.keys(change)));
        assert.notDeepEqual(other.responderTags, base.responderTags);
      }
      assert.notDeepEqual(base.initiatorTags, base.responderTags);
    });

    it(`${name} changes key and tags with every secret, and wipes the secrets`, async () => {
      const base = await derive(request(name, 16, [A, B]));
      for (const slot of [0, 1]) {
        const secrets = [Buffer.from(A), Buffer.from(B)];
        (secrets[slot] as Buffer)[0] = 0xee;
        const changed = request(name, 16, secrets);
        const other = await derive(changed);
        assert.notDeepEqual(other.keys, base.keys);
        assert.notDeepEqual(other.initiatorTags, base.initiatorTags);
        for (const { secrets: used } of changed.slots) assert.ok(used.every((byte) => byte === 0));
      }
    });

    it(`${name} gives each chunk of a batch what it gives it alone`, async () => {
      const batch = request(name, 16, []);
      batch.count = 3;
      const many = (secret: Buffer) => Buffer.concat([secret, secret.toReversed(), secret]);
      batch.slots = request(name, 16, [A, B]).slots.map((slot) => ({
        ...slot,
        secrets: many(asBuffer(slot.secrets)),
      }));
      const together = await derive(batch);
      const alone = await derive(
        request(name, 16, [Buffer.from(A).reverse(), Buffer.from(B).reverse()], {
          firstIndex: 8,
          context: { ...batch.context, qkdPosition: 1n },
        }),
      );
      assert.deepEqual(together.keys.subarray(16, 32), alone.keys);
      assert.deepEqual(together.initiatorTags.subarray(32, 64), alone.initiatorTags);
    });

    it(`${name} fills its largest chunk without a constant tail`, async () => {
      const largest = maxChunkBytes([32, 32]);
      const { keys } = await derive(request(name, largest, [A, B]));
      assert.equal(keys.length, largest);
      const { keys: others } = await derive(request(name, largest, [A, Buffer.alloc(32, 9)]));
      assert.notDeepEqual(keys.subarray(-8), others.subarray(-8));
    });
  }
});

describe('bad batches', () => {
  const cases: [string, object][] = [
    ['count 0', { count: 0 }],
    ['count 1025', { count: 1025 }],
    ['secrets of another count', { count: 2 }],
    ['no slots', { slots: [] }],
    ['no context', { context: undefined }],
    ['chunk size 0', { chunkBytes: 0 }],
    ['index past its range', { firstIndex: 0xffffffff }],
  ];
  for (const [what, change] of cases) {
    it(`refuses ${what}`, async () => {
      await assert.rejects(derive(request('hkdf-sha384', 32, [A, B], change)), (error) =>
        isReason(error, 'BAD_REQUEST'),
      );
    });
  }

  it('refuses an unknown method by name', async () => {
    await assert.rejects(
      derive(request('rot13', 32, [A, B])),
      /UNSUPPORTED: unknown hybridization method "rot13"/,
    );
  });
});

describe('secrets that are no secrets', () => {
  for (const { name, compatible } of HYBRIDIZATION_METHODS) {
    it(`${name} of one secret is ${compatible ? 'refused, since it would be no key' : 'a key'}`, async () => {
      const single = request(name, 32, [A]);
      if (compatible) {
        await assert.rejects(derive(single), (error: Error) => {
          assert.ok(isReason(error, 'UNSUPPORTED'));
          assert.match(error.message, new RegExp(`${name} needs two distinct secrets`));
          return true;
        });
      } else assert.notDeepEqual((await derive(single)).keys, Buffer.alloc(32));
      assert.ok(single.slots[0]?.secrets.every((byte) => byte === 0));
    });

    it(`${name} never weaves two equal secrets, nor one of zeros, and names the place but no byte`, async () => {
      const long = Buffer.concat([A, Buffer.alloc(32, 3)]);
      const cases: [readonly Buffer[], RegExp][] = [
        [[A, A], /slots 1 and 2 .* chunk 7/],
        [[A, B, A], /slots 1 and 3 .* chunk 7/],
        [[A, B, B], /slots 2 and 3 .* chunk 7/],
        [[A, long], /slots 1 and 2 .* chunk 7/],
        [[A, Buffer.alloc(32)], /slot 2 .* zeros .* chunk 7/],
        [[Buffer.alloc(32), B], /slot 1 .* zeros .* chunk 7/],
      ];
      for (const [secrets, words] of cases) {
        const batch = request(name, 16, secrets);
        await assert.rejects(derive(batch), (error: Error) => {
          assert.ok(isReason(error, 'SOURCE_FAULT'), `${error}`);
          assert.match(error.message, words);
          for (const secret of secrets)
            assert.ok(
              !error.message.includes(secret.toString('hex').slice(0, 8)) || secret.every((b) => b === 0),
            );
          return true;
        });
        for (const { secrets: used } of batch.slots) assert.ok(used.every((byte) => byte === 0));
      }
    });
  }

  it('finds the one chunk of a batch that is at fault', async () => {
    const batch = request('xoring', 32, []);
    batch.count = 3;
    const slot = (...secrets: Buffer[]) => ({
      ...(request('xoring', 32, [A]).slots[0] as DeriveBatch['slots'][number]),
      secrets: Buffer.concat(secrets),
    });
    batch.slots = [slot(A, A, A), slot(B, B, A)];
    await assert.rejects(derive(batch), /chunk 9/);
  });

  it('drops the batch at fault and derives the others of the call', async () => {
    const [good, bad, other] = [
      request('xoring', 32, [A, B]),
      request('xoring', 32, [A, A]),
      request('hkdf-sha384', 32, [A, B]),
    ] as const;
    const derived = await deriveBatches(BUILT_IN_METHODS, [good, bad, other]);
    assert.deepEqual(
      derived.map(({ failure, keys }) => [failure?.reason, keys.length]),
      [
        [undefined, 32],
        ['SOURCE_FAULT', 0],
        [undefined, 32],
      ],
    );
    for (const { slots } of [good, bad, other])
      for (const { secrets } of slots) assert.ok(secrets.every((byte) => byte === 0));
  });
});
