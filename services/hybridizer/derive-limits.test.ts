import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { SourceSlot } from '#gen/keyweave/v1/common.ts';
import { DeriveBatch } from '#gen/keyweave/v1/hybridizer.ts';
import { deriveBatch, deriveBatches } from './derive-batch.ts';
import { BUILT_IN_METHODS } from './methods/built-in-methods.ts';
import type { HybridizationMethod } from './methods/method.ts';
import { createHybridizerService } from './service.ts';

interface Shape {
  count?: number;
  slots?: number;
  secretBytes?: number;
  firstIndex?: number;
  chunkBytes?: number;
  digestBytes?: number;
}

/** A batch whose sizes fit each other, whatever they are. */
function batch({ count = 1, slots = 2, secretBytes = 32, digestBytes = 0, ...rest }: Shape): DeriveBatch {
  return DeriveBatch.fromPartial({
    method: 'hkdf-sha384',
    chunkBytes: 32,
    context: {},
    count,
    ...rest,
    slots: Array.from({ length: slots }, (_, i) => ({
      slot: { algorithm: 'QKD' },
      secrets: Buffer.alloc(count * secretBytes, i + 1),
      secretBytes,
      publicKeyDigests: Buffer.alloc(digestBytes),
      ciphertextDigests: Buffer.alloc(digestBytes),
    })),
  });
}

const derive = (request: DeriveBatch) => deriveBatch(BUILT_IN_METHODS, request);
const isWiped = ({ slots }: DeriveBatch) => slots.every(({ secrets }) => secrets.every((byte) => byte === 0));

describe('the limits of a batch', () => {
  const whole: [string, Shape][] = [
    ['1,024 chunks', { count: 1024, chunkBytes: 1 }],
    ['one slot', { slots: 1 }],
    ['16 slots', { slots: 16 }],
    ['secrets of one byte', { secretBytes: 1 }],
    ['secrets of 1,024 bytes', { secretBytes: 1024 }],
    ['the last index of all', { firstIndex: 0xffff_fffe }],
    ['chunks of one byte', { chunkBytes: 1 }],
    ['a digest for each chunk', { count: 3, digestBytes: 96 }],
  ];
  for (const [what, shape] of whole) {
    it(`takes ${what}`, async () => {
      const request = batch(shape);
      const { keys } = await derive(request);
      assert.equal(keys.length, request.count * request.chunkBytes);
      assert.ok(isWiped(request));
    });
  }

  const refused: [string, Shape, RegExp][] = [
    ['1,025 chunks', { count: 1025 }, /count must be 1 to 1024, not 1025/],
    ['no chunk', { count: 0 }, /count must be 1 to 1024, not 0/],
    ['17 slots', { slots: 17 }, /slots must be 1 to 16, not 17/],
    ['no slot', { slots: 0 }, /slots must be 1 to 16, not 0/],
    ['secrets of no byte', { secretBytes: 0 }, /slot 0: secret_bytes must be 1 to 1024/],
    ['secrets of 1,025 bytes', { secretBytes: 1025 }, /slot 0: secret_bytes must be 1 to 1024/],
    ['an index too far', { firstIndex: 0xffff_ffff }, /the index runs past its range/],
    ['chunks of no byte', { chunkBytes: 0 }, /chunk_bytes must be at least 1/],
    ['a digest too few', { count: 3, digestBytes: 64 }, /slot 0: wrong number of digests/],
    ['half a digest', { digestBytes: 16 }, /slot 0: wrong number of digests/],
  ];
  for (const [what, shape, words] of refused) {
    it(`refuses ${what}, and wipes`, async () => {
      const request = batch(shape);
      await assert.rejects(derive(request), (error: Error) => {
        assert.ok(isReason(error, 'BAD_REQUEST'));
        assert.match(error.message, words);
        return true;
      });
      assert.ok(isWiped(request));
    });
  }

  it('refuses one byte of secret too many, and a slot without a description', async () => {
    const long = batch({ count: 2 });
    long.slots[1] = { ...long.slots[1], secrets: Buffer.alloc(65) } as (typeof long.slots)[0];
    await assert.rejects(derive(long), /slot 1: secrets are not 2 of 32 bytes/);
    const nameless = batch({});
    nameless.slots[1] = { ...nameless.slots[1], slot: undefined } as (typeof nameless.slots)[0];
    await assert.rejects(derive(nameless), /BAD_REQUEST: slot 1 has no description/);
  });

  it('refuses a batch without a context as a bad request', async () => {
    await assert.rejects(derive({ ...batch({}), context: undefined }), (error) =>
      isReason(error, 'BAD_REQUEST'),
    );
  });

  it('refuses a method of the table that this build lacks', async () => {
    await assert.rejects(deriveBatch(new Map(), batch({})), (error) => isReason(error, 'UNSUPPORTED'));
  });
});

/** A method that notes what it is given, and fails at chunk `failAt` where that is named. */
function watched(failAt = Number.POSITIVE_INFINITY, failure: Error = new Error('unplanned')) {
  const outs: Buffer[] = [];
  const turns: number[] = [];
  let turn = 0;
  let calls = 0;
  const next = () => {
    turn++;
    timer = setImmediate(next);
  };
  let timer = setImmediate(next);
  const method: HybridizationMethod = {
    name: 'hkdf-sha384',
    derive(_secrets, _context, out) {
      if (calls++ === failAt) throw failure;
      turns.push(turn);
      outs.push(out.fill(0xff));
    },
  };
  return { methods: new Map([[method.name, method]]), outs, turns, stop: () => clearImmediate(timer) };
}

describe('a batch that fails half-way', () => {
  it('leaves none of the keys that it had made', async (t) => {
    const { methods, outs, stop } = watched(2, new KeyweaveError('AGREEMENT_FAILED', 'as planned'));
    t.after(stop);
    await assert.rejects(deriveBatch(methods, batch({ count: 3 })), /as planned/);
    assert.equal(outs.length, 2);
    assert.ok(outs.every((out) => out.every((byte) => byte === 0)));
  });

  it('says which slots and which chunk were at fault, and no byte of them', async () => {
    const request = batch({ count: 2, firstIndex: 40 });
    const [first, second] = request.slots as [(typeof request.slots)[0], (typeof request.slots)[0]];
    first.slot = SourceSlot.fromPartial({ algorithm: 'ML-KEM-768' });
    second.secrets.fill(1, 32);
    await assert.rejects(derive(request), (error: Error) => {
      assert.ok(isReason(error, 'SOURCE_FAULT'));
      assert.match(error.message, /slots 1 and 2 \(ML-KEM-768, QKD\) gave the same secret for chunk 41/);
      return true;
    });
  });
});

describe('several batches', () => {
  it('are derived in their order', async () => {
    const batches = [batch({ firstIndex: 3 }), batch({ firstIndex: 9, count: 2 })];
    const alone = await derive(batch({ firstIndex: 9, count: 2 }));
    const [first, second] = await deriveBatches(BUILT_IN_METHODS, batches);
    assert.equal(first?.keys.length, 32);
    assert.deepEqual(second, alone);
  });

  it('leave those alone that fail', async (t) => {
    const { methods, outs, stop } = watched(2, new KeyweaveError('AGREEMENT_FAILED', 'as planned'));
    t.after(stop);
    const batches = [batch({ count: 2 }), batch({ count: 3 }), batch({})];
    const derived = await deriveBatches(methods, batches);
    assert.deepEqual(
      derived.map(({ keys, failure }) => [keys.length, failure?.reason]),
      [
        [64, undefined],
        [0, 'AGREEMENT_FAILED'],
        [32, undefined],
      ],
    );
    assert.equal(outs.length, 3);
    assert.ok(batches.every(isWiped));
  });

  it('leave no key and no secret behind where something is wrong with all', async (t) => {
    const { methods, outs, stop } = watched(2, new Error('as planned'));
    t.after(stop);
    const batches = [batch({ count: 2 }), batch({}), batch({})];
    await assert.rejects(deriveBatches(methods, batches), /as planned/);
    assert.equal(outs.length, 2);
    assert.ok(outs.every((out) => out.every((byte) => byte === 0)));
    assert.ok(batches.every(isWiped));
  });

  it('are 1,024 at most, and more are wiped unread', async (t) => {
    const { methods, outs, stop } = watched();
    t.after(stop);
    const many = (count: number) => Array.from({ length: count }, () => batch({ chunkBytes: 1 }));
    assert.equal((await deriveBatches(methods, many(1024))).length, 1024);
    const tooMany = many(1025);
    await assert.rejects(deriveBatches(methods, tooMany), /BAD_REQUEST: at most 1024 batches/);
    assert.equal(outs.length, 1024);
    assert.ok(tooMany.every(isWiped));
  });

  it('let others have a turn after every 64 chunks, and need none before', async (t) => {
    const { methods, turns, stop } = watched();
    t.after(stop);
    await deriveBatch(methods, batch({ count: 200 }));
    const perTurn = Map.groupBy(turns, (turn) => turn).values();
    assert.deepEqual(perTurn.map((chunks) => chunks.length).toArray(), [64, 64, 64, 8], 'chunks of one turn');
    assert.equal(turns[0], 0, 'a turn was given away before the first chunk');
  });
});

describe('the service of the hybridizer', () => {
  const service = createHybridizerService(BUILT_IN_METHODS);
  const context = {} as Parameters<typeof service.derive>[1];

  it('derives what it is sent', async () => {
    const answer = await service.derive({ batches: [batch({}), batch({ count: 3 })] }, context);
    assert.deepEqual(
      answer.batches?.map(({ keys }) => keys?.length),
      [32, 96],
    );
  });
});
