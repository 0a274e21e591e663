import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import {
  batches,
  begin,
  confirm,
  held,
  offer,
  refuses,
  stream,
  TAG,
} from '#test/helpers/held-batches-bench.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';
import { readStreamTerms, withEnoughSecrets } from '../../streams/stream-terms.ts';

const PUBLIC_KEY_BYTES = 1184;
const FAILURE = new KeyweaveError('QKD_UNAVAILABLE', 'as the test says');

beforeEach(() => begin());

describe('what the responder of a stream admits', () => {
  it('never makes an index twice', () => {
    held(5, 2, 1);
    for (const first of [0, 5, 6]) refuses(offer(first, 1), 'AGREEMENT_FAILED');
    held(7, 1, 2);
  });

  it('makes one batch of a stream at a time', () => {
    batches.admit(offer(0, 1));
    refuses(offer(1, 1), 'AGREEMENT_FAILED');
    batches.fail(FAILURE);
    batches.admit(offer(1, 1));
  });

  it('refuses what does not carry exactly the agreed slots', () => {
    const keys = (bytes: number) => Buffer.alloc(bytes);
    refuses(offer(0, 1, { publicKeys: [] }), 'BAD_REQUEST');
    refuses(offer(0, 1, { publicKeys: [{ slot: 1, publicKeys: keys(PUBLIC_KEY_BYTES) }] }), 'BAD_REQUEST');
    refuses(offer(0, 1, { publicKeys: [{ slot: 9, publicKeys: keys(PUBLIC_KEY_BYTES) }] }), 'BAD_REQUEST');
    refuses(
      offer(0, 1, { publicKeys: [{ slot: 0, publicKeys: keys(PUBLIC_KEY_BYTES - 1) }] }),
      'BAD_REQUEST',
    );
    refuses(
      offer(0, 1, { publicKeys: [{ slot: 0, publicKeys: keys(2 * PUBLIC_KEY_BYTES) }] }),
      'BAD_REQUEST',
    );
    refuses(offer(0, 1, { qkd: undefined }), 'BAD_REQUEST');
    refuses(offer(0, 1, { degradedSlot: 2, qkd: undefined }), 'AGREEMENT_FAILED');
    refuses(offer(0, 1, { degradedSlot: 99 }), 'AGREEMENT_FAILED');
    refuses(offer(0, 0), 'BAD_REQUEST');
    refuses(offer(0, 1025), 'BAD_REQUEST');
    refuses(offer(0xffffffff, 1), 'BAD_REQUEST');
    held(0, 1, 1);
  });

  it('lets sources of a kind be left out where both nodes do, all of the kind and nothing else', () => {
    const pair = (slot: number) => ({ slot, publicKeys: Buffer.alloc(PUBLIC_KEY_BYTES) });
    const method = 'hkdf-sha384';
    const sources = ['ML-KEM-768', 'QKD', 'ML-KEM-768'];
    const whole = { publicKeys: [pair(0), pair(2)] };
    const withoutQkd = { ...whole, qkd: undefined, leftOut: 0b010 };
    const withoutPqc = { publicKeys: [], leftOut: 0b101 };
    const [qkd, pqc] = [
      { qkd: true, pqc: false },
      { qkd: false, pqc: true },
    ];
    for (const [mayLack, good, bad] of [
      [qkd, withoutQkd, withoutPqc],
      [pqc, withoutPqc, withoutQkd],
    ] as const) {
      begin({ sources, method, mayLack });
      refuses(offer(0, 1, bad), 'AGREEMENT_FAILED');
      assert.equal(batches.admit(offer(0, 1, good)), 1);
      begin({ sources, method });
      refuses(offer(0, 1, good), 'AGREEMENT_FAILED');
    }
    begin({ sources, method, mayLack: { qkd: true, pqc: true }, allowDegraded: true });
    for (const leftOut of [0b001, 0b100, 0b011, 0b111, 0b1000])
      refuses(offer(0, 1, { publicKeys: [], leftOut }), 'AGREEMENT_FAILED');
    for (const wrong of [
      { ...withoutQkd, qkd: offer(0, 1).qkd },
      { ...withoutPqc, publicKeys: [pair(0)] },
      { ...withoutPqc, qkd: undefined },
    ])
      refuses(offer(0, 1, wrong), 'BAD_REQUEST');
    begin({ method, mayLack: { qkd: true, pqc: true }, allowDegraded: true });
    refuses(offer(0, 1, { publicKeys: [], qkd: undefined, degradedSlot: 2, leftOut: 1 }), 'AGREEMENT_FAILED');
  });

  it('releases no batch that lacks what the application of this end wants in it by now', () => {
    begin({ method: 'hkdf-sha384', mayLack: { qkd: true, pqc: true } });
    const batch = offer(0, 1, { qkd: undefined, leftOut: 0b10 });
    batches.admit(batch);
    batches.hold(batch, { count: 1, keys: Buffer.alloc(32, 1), initiatorTags: TAG });
    stream.leeway.narrow({ qkd: false, pqc: true }, true, stream.buffer);
    assert.equal(confirm(0, 1), false);
    assert.equal(stream.buffer.size, 0);
  });

  it('lets a shared_seed stand in for the QKD slot of a list of QKD and one KEM, and for nothing else', () => {
    const pair = (slot: number) => ({ slot, publicKeys: Buffer.alloc(PUBLIC_KEY_BYTES) });
    const { qkd } = offer(0, 1);
    const cases: [readonly string[], Partial<BatchOffer>][] = [
      [['QKD'], { degradedSlot: 1, publicKeys: [], qkd: undefined }],
      [['ML-KEM-768'], { degradedSlot: 1, publicKeys: [], qkd: undefined }],
      [['ML-KEM-768', 'QKD'], { degradedSlot: 1, publicKeys: [] }],
      [['ML-KEM-768', 'ML-KEM-768'], { degradedSlot: 2, publicKeys: [pair(0)], qkd: undefined }],
      [['QKD', 'QKD'], { degradedSlot: 1, publicKeys: [] }],
      [
        ['ML-KEM-768', 'QKD', 'ML-KEM-768'],
        { degradedSlot: 2, publicKeys: [pair(0), pair(2)], qkd: undefined },
      ],
      [['ML-KEM-768', 'QKD', 'QKD'], { degradedSlot: 2, publicKeys: [pair(0)], qkd }],
    ];
    for (const [sources, change] of cases) {
      begin({ sources, allowDegraded: true, method: 'hkdf-sha384' });
      refuses(
        offer(0, 1, change),
        'AGREEMENT_FAILED',
        `${sources} with slot ${change.degradedSlot} replaced was taken`,
      );
    }
    begin({ allowDegraded: true });
    assert.equal(batches.admit(offer(0, 1, { degradedSlot: 2, qkd: undefined })), 1);
    begin({ sources: ['QKD', 'ML-KEM-768'], allowDegraded: true });
    assert.equal(batches.admit(offer(0, 1, { degradedSlot: 1, publicKeys: [pair(1)], qkd: undefined })), 1);
  });

  it('takes no more than there is room for, what is unconfirmed counted', () => {
    assert.equal(batches.admit(offer(0, 20)), 16);
    batches.fail(FAILURE);
    held(20, 10, 1);
    assert.equal(batches.admit(offer(30, 10)), 6);
    batches.fail(FAILURE);
    held(40, 6, 2);
    refuses(offer(46, 1), 'NO_ROOM');
  });

  it('takes batches up to the largest that there are, and up to the last index', () => {
    begin({ maxBufferedChunks: 2_048 });
    assert.equal(batches.admit(offer(0, 1_024)), 1_024);
    batches.fail(FAILURE);
    assert.equal(batches.admit(offer(0xffffffff - 2, 2)), 2);
  });

  it('counts what is buffered against its room, and those who wait for it', async () => {
    held(0, 15, 1);
    confirm(0, 15);
    assert.equal(batches.admit(offer(15, 9)), 1);
    batches.fail(FAILURE);
    for (let i = 0; i < 15; i++) stream.buffer.take();
    const leaving = new AbortController();
    const waiting = [20, 21].map((index) => stream.buffer.wait(index + 10, 50, () => 'late', leaving.signal));
    assert.equal(batches.admit(offer(24, 20)), 18);
    leaving.abort();
    await Promise.allSettled(waiting);
  });

  it('never makes an index twice, also of a batch that failed or that it shortened', () => {
    batches.admit(offer(3, 5));
    batches.fail(FAILURE);
    for (const first of [3, 7]) refuses(offer(first, 1), 'AGREEMENT_FAILED');
    const shortened = offer(8, 5);
    batches.admit(shortened, 2);
    batches.hold(shortened, { count: 2, keys: Buffer.alloc(64), initiatorTags: Buffer.alloc(64, TAG) });
    refuses(offer(9, 1), 'AGREEMENT_FAILED');
    assert.equal(batches.admit(offer(10, 1)), 1);
  });

  it('refuses the public keys of one slot in the place of those of another of its size', () => {
    begin({ sources: ['ML-KEM-768', 'ML-KEM-768'], method: 'hkdf-sha384' });
    const pair = (slot: number) => ({ slot, publicKeys: Buffer.alloc(PUBLIC_KEY_BYTES) });
    const both = (...slots: number[]) => offer(0, 1, { publicKeys: slots.map(pair), qkd: undefined });
    for (const slots of [[1, 0], [0, 0], [0], [0, 1, 1]]) refuses(both(...slots), 'BAD_REQUEST');
    assert.equal(batches.admit(both(0, 1)), 1);
  });

  it('takes a stream whose method needs a stand-in with that one and no other', () => {
    const terms = withEnoughSecrets(
      readStreamTerms(`hybrid://app@${ALICE}`, `hybrid://app@${BOB}`, {
        method: 'xoring',
        keySources: ['QKD'],
      }),
      { mayDegrade: true },
    );
    begin({ terms, allowDegraded: true });
    for (const degradedSlot of [0, 1, 3]) {
      refuses(offer(0, 1, { publicKeys: [], degradedSlot }), 'AGREEMENT_FAILED');
    }
    assert.equal(batches.admit(offer(0, 1, { publicKeys: [], degradedSlot: 2 })), 1);
  });
});
