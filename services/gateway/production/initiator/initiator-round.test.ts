import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import type { BatchAnswer, BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import {
  agreed,
  asked,
  CIPHERTEXT_BYTES,
  calls,
  derived,
  discarded,
  dropped,
  entry,
  fail,
  fails,
  INITIATOR,
  items,
  KEY,
  keysOf,
  newRound,
  offered,
  others,
  PUBLIC_KEY_BYTES,
  received,
  rides,
  run,
} from '#test/helpers/round-bench.ts';
import { answerOf } from '#test/helpers/streams.ts';

beforeEach(newRound);

describe('a round of the initiator', () => {
  it('uses its QKD keys once the responder has, and gives the keys once it has released them', async () => {
    const one = entry();
    one.producer.urgent = true;
    await run(one);
    assert.deepEqual(calls, [
      'generate 2 ML-KEM-768',
      'produce',
      'use 2',
      'decapsulate 2 ML-KEM-768',
      'derive 2',
      'confirm',
    ]);
    assert.deepEqual(await keysOf(one), [KEY, KEY + 1]);
    assert.equal(one.producer.made, 2);
    assert.equal(one.producer.answers.length, 1);
    assert.deepEqual([dropped, discarded, rides], [[], [], ['arrived 1']]);
    const { confirmation, urgent } = asked[0] as (typeof asked)[0];
    assert.equal(urgent, true);
    assert.deepEqual(confirmation, {
      ...{ keyStreamId: one.stream.idBytes, incarnation: one.stream.incarnation, firstIndex: 5, count: 2 },
      initiatorTags: Buffer.alloc(64, INITIATOR),
    });
  });

  it('offers what the responder needs, and derives from what both ends have', async () => {
    const one = entry({ sources: ['QKD', 'ML-KEM-768', 'QKD', 'ML-KEM-512'] });
    await run(one);
    const [offer] = offered;
    assert.deepEqual(
      { ...offer, publicKeys: offer?.publicKeys.map(({ slot, publicKeys }) => [slot, publicKeys.length]) },
      {
        ...{ keyStreamId: one.stream.idBytes, incarnation: one.stream.incarnation, firstIndex: 5, count: 2 },
        publicKeys: [
          [1, 2 * PUBLIC_KEY_BYTES],
          [3, 2 * 800],
        ],
        ...{ qkd: one.batch.qkd, degradedSlot: 0 },
      },
    );
    const [batch] = derived;
    assert.deepEqual(
      batch?.slots.map((slot) => [...new Set(slot.secrets)]),
      [
        [0x80, 0x81],
        [0x50, 0x51],
        [0x82, 0x83],
        [0x70, 0x71],
      ],
    );
    assert.deepEqual(
      batch?.slots.map(({ publicKeyDigests }) => publicKeyDigests.length),
      [0, 64, 0, 64],
    );
  });

  it('takes the keys of several streams in one call each, and keeps them apart', async () => {
    const entries = [
      entry({ first: 0, count: 1 }),
      entry({ first: 7, count: 3 }),
      entry({ first: 9, count: 2 }),
    ];
    others.answer = (offer) =>
      offer.firstIndex === 7
        ? { ...agreed(offer, 2), ciphertexts: [{ slot: 0, ciphertexts: items(2, CIPHERTEXT_BYTES, 0x60) }] }
        : agreed(offer);
    await run(...entries);
    assert.deepEqual(calls.slice(0, 7), [
      'generate 6 ML-KEM-768',
      'produce',
      ...['use 1', 'use 2', 'use 2'],
      'decapsulate 6 ML-KEM-768',
      'derive 1,2,2',
    ]);
    assert.deepEqual(
      offered.map(({ publicKeys }) => [...new Set(publicKeys[0]?.publicKeys)]),
      [[0x30], [0x31, 0x32, 0x33], [0x34, 0x35]],
    );
    assert.deepEqual(
      derived.map(({ firstIndex, count, slots }) => [firstIndex, count, ...new Set(slots[0]?.secrets)]),
      [
        [0, 1, 0x40],
        [7, 2, 0x60, 0x61],
        [9, 2, 0x40, 0x41],
      ],
    );
    assert.deepEqual(
      entries.map(({ producer }) => producer.made),
      [1, 2, 2],
    );
    assert.deepEqual(
      asked.map(({ confirmation }) => confirmation.count),
      [1, 2, 2],
    );
  });

  it('has the shared_seed stand in where a batch says so, and uses no QKD keys for it', async () => {
    const one = entry({ standIn: 1 });
    await run(one);
    assert.ok(!calls.some((call) => call.startsWith('use')));
    assert.equal(offered[0]?.degradedSlot, 2);
    const [kem, standIn] = derived[0]?.slots ?? [];
    assert.deepEqual([...new Set(kem?.secrets)], [0x40, 0x41]);
    assert.ok(standIn?.secrets.length === 64 && standIn.secrets.some((byte) => byte !== 0));
    assert.equal(derived[0]?.context?.degradedSlot, 2);
    assert.deepEqual(await keysOf(one), [KEY, KEY + 1]);
  });

  it('keeps the QKD keys of one stream from another that takes none', async () => {
    const [degraded, whole] = [entry({ first: 1, standIn: 1 }), entry({ first: 8 })];
    await run(degraded, whole);
    assert.deepEqual([...new Set(derived[1]?.slots[1]?.secrets)], [0x80, 0x81]);
  });

  it('hands on the ciphertexts of a single batch as they came, without a copy', async () => {
    const one = entry();
    await run(one);
    const came = one.producer.answers[0]?.ciphertexts[0]?.ciphertexts;
    assert.equal(received[0]?.length, came?.length);
    assert.ok(received[0]?.buffer === came?.buffer && received[0]?.byteOffset === came?.byteOffset);
  });

  it('has it stand in beside a single source, too', async () => {
    const one = entry({ sources: ['QKD'], namesStandIn: true, standIn: 1 });
    await run(one);
    assert.deepEqual(calls.slice(0, 3), ['produce', 'use 2', 'derive 2']);
    assert.deepEqual([...new Set(derived[0]?.slots[0]?.secrets)], [0x80, 0x81]);
  });
});

describe('a round whose responder', () => {
  it('derives other keys: nobody gets them, and the responder drops them, too', async () => {
    const one = entry();
    others.answer = (offer) => {
      const answer = agreed(offer);
      answer.responderTags[63] = 0;
      return answer;
    };
    await run(one);
    await fails(one, 'AGREEMENT_FAILED', /did not derive the same keys/);
    assert.deepEqual(dropped, [5]);
    assert.deepEqual(asked, []);
    assert.equal(one.producer.made, 2);
  });

  for (const [what, change] of [
    ['no chunks', (offer) => agreed(offer, 0)],
    ['more chunks than were offered', (offer) => agreed(offer, 3)],
    ['no ciphertexts', (offer) => ({ ...agreed(offer), ciphertexts: [] })],
    [
      'ciphertexts of a QKD slot',
      (offer) => ({
        ...agreed(offer),
        ciphertexts: [...agreed(offer).ciphertexts, { slot: 1, ciphertexts: Buffer.alloc(0) }],
      }),
    ],
    [
      'ciphertexts of another slot',
      (offer) => ({
        ...agreed(offer),
        ciphertexts: [{ slot: 1, ciphertexts: Buffer.alloc(2 * CIPHERTEXT_BYTES) }],
      }),
    ],
    [
      'a ciphertext too few',
      (offer) => ({
        ...agreed(offer),
        ciphertexts: [{ slot: 0, ciphertexts: Buffer.alloc(CIPHERTEXT_BYTES) }],
      }),
    ],
  ] as [string, (offer: BatchOffer) => BatchAnswer][]) {
    it(`answers with ${what}: that batch is dropped at both ends, the others are made`, async () => {
      const [bad, good] = [entry({ first: 3 }), entry({ first: 8 })];
      others.answer = (offer) => (offer.firstIndex === 3 ? change(offer) : agreed(offer));
      await run(bad, good);
      await fails(bad, 'AGREEMENT_FAILED', /the other end answered (for|with)/);
      assert.deepEqual([bad.producer.made, bad.producer.answers.length, dropped], [0, 0, [3]]);
      assert.deepEqual(await keysOf(good), [KEY, KEY + 1]);
      assert.deepEqual(
        calls.filter((call) => /^(use|drop) /.test(call)),
        ['drop 2 AGREEMENT_FAILED', 'use 2'],
        'keys that the other end may have used go to another batch',
      );
      assert.ok(calls.includes('decapsulate 4 ML-KEM-768'));
      assert.deepEqual([...new Set(derived[0]?.slots[0]?.secrets)], [0x40, 0x41]);
    });
  }

  it('makes less of an offer than all is believed, down to one chunk', async () => {
    const one = entry({ count: 3 });
    others.answer = (offer) => agreed(offer, 1);
    await run(one);
    assert.equal((await one.producer.outcome)?.length, 32);
    assert.equal(one.producer.made, 1);
  });

  it('fails a batch says why; it is dropped there, but not where there was no room for it', async () => {
    const [failed, full] = [entry({ first: 3 }), entry({ first: 8 })];
    others.answer = (offer) => ({
      ...answerOf(0),
      failure: { reason: offer.firstIndex === 3 ? 'QKD_UNAVAILABLE' : 'NO_ROOM', detail: 'in its words' },
    });
    await run(failed, full);
    await fails(failed, 'QKD_UNAVAILABLE', /in its words/);
    await fails(full, 'NO_ROOM');
    assert.deepEqual(dropped, [3]);
    assert.deepEqual(discarded, [0], 'private keys that nobody needs stay where they are');
    assert.deepEqual(
      calls.filter((call) => /^(use|drop) /.test(call)),
      ['drop 0 QKD_UNAVAILABLE', 'drop 0 NO_ROOM'],
    );
  });

  it('has taken QKD keys of a batch that it failed to make: they are burned, and no others', async () => {
    const one = entry();
    others.answer = () => ({
      ...answerOf(0),
      failure: { reason: 'SOURCE_FAULT', detail: 'in its words' },
      qkdTaken: 1,
    });
    await run(one);
    await fails(one, 'SOURCE_FAULT');
    assert.ok(calls.includes('drop 1 SOURCE_FAULT'));
  });

  it('makes less of an offer than all leaves the other QKD keys to the next one', async () => {
    const one = entry({ count: 3, sources: ['QKD', 'ML-KEM-768', 'QKD'] });
    others.answer = (offer) => agreed(offer, 1);
    await run(one);
    assert.ok(calls.includes('use 2'));
    assert.deepEqual(
      derived[0]?.slots.map((slot) => [...new Set(slot.secrets)]),
      [[0x80], [0x50], [0x81]],
    );
  });

  it('may have got an offer whose answer was too late: all its QKD keys are burned', async () => {
    const one = entry();
    others.answers = () => fail('TIMEOUT');
    await run(one);
    await fails(one, 'TIMEOUT');
    assert.ok(calls.includes('drop 2 TIMEOUT'));
  });

  for (const [what, answers, reason, word] of [
    ['leaves out an answer', async (all) => all.slice(1), 'AGREEMENT_FAILED', /1 offers of 2/],
    ['answers once too often', async (all) => [...all, ...all.slice(1)], 'AGREEMENT_FAILED', /3 offers of 2/],
    ['cannot be reached', () => fail('PEER_UNREACHABLE'), 'PEER_UNREACHABLE', /as the test says/],
  ] as [string, (all: BatchAnswer[]) => Promise<BatchAnswer[]>, ErrorReason, RegExp][]) {
    it(`${what}: every batch fails and is dropped, and the private keys are discarded`, async () => {
      const both = [entry({ first: 3 }), entry({ first: 8 })];
      others.answers = answers;
      await run(...both);
      for (const one of both) {
        await fails(one, reason, word);
        assert.equal(one.producer.made, 0);
      }
      assert.deepEqual([dropped, discarded], [[3, 8], [0]]);
      assert.deepEqual(rides, reason === 'PEER_UNREACHABLE' ? ['lost PEER_UNREACHABLE'] : ['arrived 1']);
      assert.ok(!calls.some((call) => /use|decapsulate/.test(call)));
    });
  }

  it('does not release the keys: they are wiped, and the asker knows of what was lost on the way', async () => {
    const one = entry();
    others.confirm = () => fail('AGREEMENT_FAILED');
    await run(one);
    await fails(one, 'AGREEMENT_FAILED', /as the test says/);
    assert.deepEqual(dropped, [], 'the responder has decided already');
    const { asker } = asked[0] as (typeof asked)[0];
    const lost = new KeyweaveError('PEER_UNREACHABLE', 'gone');
    asker.onLost(lost);
    assert.equal(one.stream.lastFailure, lost);
    assert.equal(asker.stopped(), false);
    one.producer.stopped = true;
    assert.equal(asker.stopped(), true);
  });
});
