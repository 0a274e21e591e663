import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { keyStream, qkdReference, termsOf } from '#test/helpers/streams.ts';
import type { SharedSeeds } from '../clients/shared-seeds.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { slotOf, standInFor } from '../streams/stream-terms.ts';
import { type SlotContribution, slotInputs } from './slot-inputs.ts';
import { standInSecrets } from './stand-in.ts';

const QKD_REFERENCE = qkdReference({ epoch: 2, qkdKeyStreamId: 'qkd', position: 4n });

let seed: Secret | undefined;
const seeds: SharedSeeds = { of: () => seed };

beforeEach(() => {
  seed = new Secret(Buffer.alloc(32, 5));
});

/** QKD keys of 32 bytes, the i-th of bytes `i + 1`. */
const qkdKeysOf = (count: number) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.alloc(32, i + 1)));
const kemOf = (slot: number): Required<SlotContribution> => ({
  secrets: Buffer.alloc(64, 0xa0 + slot),
  publicKeys: Buffer.alloc(4, 0xb0 + slot),
  ciphertexts: Buffer.alloc(4, 0xc0 + slot),
});
const isZero = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);

function batchOf(sources: readonly string[], standIn?: number, stream: KeyStream = streamOf(sources)) {
  return { stream, first: 5, count: 2, qkd: QKD_REFERENCE, standIn };
}
function streamOf(sources: readonly string[], namesStandIn = false): KeyStream {
  const terms = termsOf('hkdf-sha384', sources);
  const slots = namesStandIn ? [...terms.slots, standInFor(slotOf('QKD'))] : terms.slots;
  return keyStream({ terms: { ...terms, slots } });
}

describe('slotInputs', () => {
  it('puts the slots in their agreed order, and QKD keys one slot after the other', () => {
    const qkdKeys = qkdKeysOf(4);
    const batch = batchOf(['QKD', 'ML-KEM-768', 'QKD']);
    const { slots, ...others } = slotInputs(seeds, { batch, kem: kemOf, qkdKeys });
    assert.deepEqual(others, batch);
    assert.deepEqual(slots, [
      { secrets: qkdKeysOf(4).subarray(0, 64) },
      kemOf(1),
      { secrets: qkdKeysOf(4).subarray(64) },
    ]);
  });

  it('puts nothing in the place of what is left out', () => {
    const empty = { secrets: Buffer.alloc(0) };
    const of = (leftOut: 'qkd' | 'pqc', qkdKeys: Buffer) =>
      slotInputs(seeds, {
        batch: { ...batchOf(['QKD', 'ML-KEM-768', 'QKD']), leftOut },
        kem: kemOf,
        qkdKeys,
      });
    assert.deepEqual(of('qkd', Buffer.alloc(0)).slots, [empty, kemOf(1), empty]);
    const { slots, leftOut } = of('pqc', qkdKeysOf(4));
    assert.deepEqual(
      slots.map(({ secrets }) => secrets.length),
      [64, 0, 64],
    );
    assert.equal(leftOut, 'pqc');
  });

  it('gives QKD keys as they came, since a copy would be left unwiped', () => {
    const qkdKeys = qkdKeysOf(2);
    const { slots } = slotInputs(seeds, { batch: batchOf(['QKD', 'ML-KEM-768']), kem: kemOf, qkdKeys });
    slots[0]?.secrets.fill(0);
    assert.ok(isZero(qkdKeys));
  });

  it('wipes the QKD keys that the batch has no use for, at once', () => {
    const qkdKeys = qkdKeysOf(5);
    slotInputs(seeds, { batch: batchOf(['QKD', 'ML-KEM-768']), kem: kemOf, qkdKeys });
    assert.deepEqual(qkdKeys.subarray(0, 64), qkdKeysOf(2));
    assert.ok(isZero(qkdKeys.subarray(64)));
    const unused = qkdKeysOf(1);
    slotInputs(seeds, { batch: batchOf(['ML-KEM-768']), kem: kemOf, qkdKeys: unused });
    assert.ok(isZero(unused));
  });

  it('lets the shared_seed stand in for a slot: its QKD keys are those of the next one', () => {
    const stream = streamOf(['QKD'], true);
    const named = slotInputs(seeds, { batch: batchOf([], 1, stream), kem: kemOf, qkdKeys: qkdKeysOf(2) });
    const ofSlot1 = standInSecrets(seeds, { stream, first: 5, count: 2 }, 1);
    assert.deepEqual(named.slots, [{ secrets: qkdKeysOf(2) }, { secrets: ofSlot1 }]);
    const batch = batchOf(['QKD', 'ML-KEM-768'], 0);
    const replaced = slotInputs(seeds, { batch, kem: kemOf, qkdKeys: Buffer.alloc(0) });
    const ofSlot0 = standInSecrets(seeds, { stream: batch.stream, first: 5, count: 2 }, 0);
    assert.deepEqual(replaced.slots, [{ secrets: ofSlot0 }, kemOf(1)]);
  });

  it('wipes all QKD keys where the seed is missing, or a KEM is', () => {
    seed = undefined;
    const qkdKeys = qkdKeysOf(3);
    const batch = batchOf([], 1, streamOf(['QKD'], true));
    assert.throws(() => slotInputs(seeds, { batch, kem: kemOf, qkdKeys }), /AGREEMENT_FAILED.*shared_seed/);
    assert.ok(isZero(qkdKeys));
    const others = qkdKeysOf(2);
    const kem = () => {
      throw new TypeError('as the test says');
    };
    const both = batchOf(['QKD', 'ML-KEM-768']);
    assert.throws(() => slotInputs(seeds, { batch: both, kem, qkdKeys: others }), TypeError);
    assert.ok(isZero(others));
  });
});
