import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { asBuffer, digestPacked } from '#common/crypto/bytes.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { systemClock } from '#common/time/clock.ts';
import type { DeriveBatch } from '#gen/keyweave/v1/hybridizer.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ALICE, BOB, keyStream, qkdReference } from '#test/helpers/streams.ts';
import { createHybridizerClient } from '../clients/hybridizer-client.ts';
import { deriveTogether } from './derivation.ts';
import type { BatchInputs } from './slot-inputs.ts';

const PUBLIC_KEY_BYTES = 1184;
const CIPHERTEXT_BYTES = 1088;

const stream = keyStream({ qos: { timeoutMs: 1000 } });

/** Items of `bytes` each, the i-th of bytes `first + i`. */
const items = (count: number, bytes: number, first: number) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.alloc(bytes, first + i)));

const inputs = (first: number, count: number): BatchInputs => ({
  stream,
  first,
  count,
  slots: [
    {
      secrets: items(count, 32, 1),
      publicKeys: items(count, PUBLIC_KEY_BYTES, 0x10),
      ciphertexts: items(count, CIPHERTEXT_BYTES, 0x20),
    },
    { secrets: items(count, 32, 0x40) },
  ],
  qkd: qkdReference({ qkdKeyStreamId: 'qkd', epoch: 4, position: 9n }),
  standIn: undefined,
});

/** A hybridizer that notes what it is asked, and answers with keys of `chunkBytes` each. */
function hybridizer(chunkBytes = 32) {
  const asked: DeriveBatch[] = [];
  const answers: Buffer[] = [];
  const services = createHybridizerClient({
    derive: async (request) => {
      const batches = request.batches as DeriveBatch[];
      asked.push(...batches);
      return {
        batches: batches.map(({ count }) => {
          const keys = Buffer.alloc(count * chunkBytes, 0xee);
          answers.push(keys);
          const [initiatorTags, responderTags] = [Buffer.alloc(count * 32), Buffer.alloc(count * 32)];
          return { keys, initiatorTags, responderTags, failure: undefined };
        }),
      };
    },
  });
  return { services, asked, answers };
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const isZero = (bytes: Buffer) => bytes.every((byte) => byte === 0);

describe('deriveTogether', () => {
  it('binds the digest of every public key and every ciphertext, none for QKD', async () => {
    const { services, asked } = hybridizer();
    await deriveTogether({ hybridizer: services, clock: systemClock }, [inputs(5, 2)]);
    const [kem, qkd] = asked[0]?.slots ?? [];
    const expected = (bytes: number, first: number) =>
      sha256(Buffer.alloc(bytes, first)) + sha256(Buffer.alloc(bytes, first + 1));
    assert.equal(kem && asBuffer(kem.publicKeyDigests).toString('hex'), expected(PUBLIC_KEY_BYTES, 0x10));
    assert.equal(kem && asBuffer(kem.ciphertextDigests).toString('hex'), expected(CIPHERTEXT_BYTES, 0x20));
    assert.deepEqual([qkd?.publicKeyDigests.length, qkd?.ciphertextDigests.length], [0, 0]);
  });

  it('derives of what went in alone, and binds what was left out', async () => {
    const { services, asked } = hybridizer();
    const nothing = { secrets: Buffer.alloc(0) };
    const [kem, qkd] = inputs(5, 2).slots as [BatchInputs['slots'][0], BatchInputs['slots'][0]];
    await deriveTogether({ hybridizer: services, clock: systemClock }, [
      { ...inputs(5, 2), slots: [nothing, qkd], leftOut: 'pqc' },
      { ...inputs(7, 2), slots: [kem, nothing], leftOut: 'qkd', qkd: undefined },
      inputs(9, 2),
    ]);
    assert.deepEqual(
      asked.map(({ slots, context }) => [slots.map(({ slot }) => slot?.algorithm), context?.leftOut]),
      [
        [['QKD'], 0b01],
        [['ML-KEM-768'], 0b10],
        [['ML-KEM-768', 'QKD'], undefined],
      ],
    );
  });

  it('binds the stream, both ends, the indexes and the place in the QKD stream', async () => {
    const { services, asked } = hybridizer();
    await deriveTogether({ hybridizer: services, clock: systemClock }, [
      inputs(5, 2),
      { ...inputs(7, 1), qkd: undefined, standIn: 1 },
    ]);
    const [first, second] = asked;
    assert.deepEqual(
      [first?.method, first?.chunkBytes, first?.firstIndex, first?.count],
      ['hkdf-sha384', 32, 5, 2],
    );
    assert.ok((first?.context?.protocolVersion ?? 0) > 0);
    const { protocolVersion: _, ...context } = first?.context ?? {};
    assert.partialDeepStrictEqual(context, {
      keyStreamId: Buffer.from(stream.id.replaceAll('-', ''), 'hex'),
      initiatorNode: ALICE,
      responderNode: BOB,
      source: `hybrid://app@${ALICE}`,
      destination: `hybrid://app@${BOB}`,
      qkdKeyStreamId: 'qkd',
      qkdEpoch: 4,
      qkdPosition: 9n,
      degradedSlot: 0,
    });
    const without = { qkdKeyStreamId: '', qkdEpoch: 0, qkdPosition: 0n, degradedSlot: 2 };
    assert.partialDeepStrictEqual(second?.context, without);
    assert.deepEqual(
      first?.slots.map(({ slot, secretBytes }) => [slot?.algorithm, secretBytes]),
      [
        ['ML-KEM-768', 32],
        ['QKD', 32],
      ],
    );
  });

  it('digests a few items at a time, so that others have their turn, and digests all of them', async () => {
    const { services, asked } = hybridizer();
    let turns = 0;
    const clock = new FakeClock();
    const soon = (act: () => void) => {
      turns += 1;
      return clock.soon(act);
    };
    const [large, small] = [inputs(0, 100), inputs(100, 1)];
    const deriving = deriveTogether({ hybridizer: services, clock: { soon } }, [large, small]);
    await Promise.resolve();
    assert.deepEqual([turns, asked.length], [1, 0], 'it holds the event loop');
    await clock.settle();
    assert.equal((await deriving).length, 2);
    assert.equal(turns, 3, '202 digests are four lots of 64 at most');
    const [kem, single] = asked.map(({ slots }) => slots[0]);
    assert.deepEqual(
      [kem?.publicKeyDigests, kem?.ciphertextDigests, single?.publicKeyDigests],
      [
        digestPacked(items(100, PUBLIC_KEY_BYTES, 0x10), PUBLIC_KEY_BYTES),
        digestPacked(items(100, CIPHERTEXT_BYTES, 0x20), CIPHERTEXT_BYTES),
        digestPacked(items(1, PUBLIC_KEY_BYTES, 0x10), PUBLIC_KEY_BYTES),
      ],
    );
    await deriveTogether({ hybridizer: services, clock: { soon } }, [inputs(0, 32)]);
    assert.equal(turns, 3, 'a small round waits for nobody');
  });

  it('keeps each outcome in its place, wipes the secrets, and keeps keys in memory of their own', async () => {
    const { services, answers } = hybridizer();
    const failed = new KeyweaveError('QKD_UNAVAILABLE', 'gone');
    const batches = [inputs(0, 1), inputs(1, 3)] as const;
    const derived = await deriveTogether({ hybridizer: services, clock: systemClock }, [
      batches[0],
      failed,
      batches[1],
    ]);
    assert.deepEqual(
      derived.map((each) => (each instanceof KeyweaveError ? each : each.keys.length)),
      [32, failed, 96],
    );
    for (const { slots } of batches) assert.ok(slots.every(({ secrets }) => isZero(asBuffer(secrets))));
    assert.ok(answers.every(isZero), 'the message that brought the keys was not wiped');
  });

  it('refuses keys of a wrong size and wipes them', async () => {
    const { services, answers } = hybridizer(31);
    const [outcome] = await deriveTogether({ hybridizer: services, clock: systemClock }, [inputs(0, 2)]);
    assert.ok(isReason(outcome, 'INTERNAL'));
    assert.ok(answers.every(isZero));
  });

  it('gives every batch the failure of a hybridizer that fails, and wipes the secrets', async () => {
    const derive = () => Promise.reject(new KeyweaveError('SERVICE_UNAVAILABLE', 'no hybridizer'));
    const batch = inputs(0, 2);
    const services = createHybridizerClient({ derive: derive as never });
    const outcomes = await deriveTogether({ hybridizer: services, clock: systemClock }, [
      batch,
      inputs(2, 1),
    ]);
    assert.ok(outcomes.every((outcome) => isReason(outcome, 'SERVICE_UNAVAILABLE')));
    assert.ok(batch.slots.every(({ secrets }) => isZero(asBuffer(secrets))));
  });

  it('takes the failure of a batch, and a missing or misshapen answer, for that batch alone', async () => {
    const sound = (count: number) => ({
      keys: Buffer.alloc(count * 32, 0xee),
      initiatorTags: Buffer.alloc(count * 32),
      responderTags: Buffer.alloc(count * 32),
    });
    const answers = [
      { ...sound(2), failure: { reason: 'SOURCE_FAULT', detail: 'the same secret twice' } },
      { ...sound(2), initiatorTags: Buffer.alloc(63) },
      { ...sound(2), responderTags: Buffer.alloc(65) },
      { ...sound(2), keys: Buffer.alloc(63, 0xee) },
      sound(2),
    ];
    const derive = async () => ({ batches: answers });
    const services = createHybridizerClient({ derive: derive as never });
    const batches = Array.from({ length: 6 }, (_, i) => inputs(2 * i, 2));
    const outcomes = await deriveTogether({ hybridizer: services, clock: systemClock }, batches);
    assert.deepEqual(
      outcomes.map((outcome) => (outcome instanceof KeyweaveError ? outcome.reason : outcome.keys.length)),
      ['SOURCE_FAULT', 'INTERNAL', 'INTERNAL', 'INTERNAL', 64, 'INTERNAL'],
    );
    for (const outcome of [1, 2, 3, 5].map((i) => outcomes[i]))
      assert.match(String(outcome), /keys of the wrong size/);
    for (const { keys } of answers.slice(1)) assert.ok(isZero(keys), 'refused keys were not wiped');
  });
});
