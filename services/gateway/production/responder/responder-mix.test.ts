import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { digestPacked } from '#common/crypto/bytes.ts';
import { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { DeriveBatch } from '#gen/keyweave/v1/hybridizer.ts';
import type { BatchAnswer, BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { EncapsulateRequest } from '#gen/keyweave/v1/pqc_source.ts';
import type { QkdFetch } from '#gen/keyweave/v1/qkd_source.ts';
import { offerOf, ResponderBench } from '#test/helpers/responder-bench.ts';
import { ALICE, BOB, qkdReference, termsOf } from '#test/helpers/streams.ts';
import { readStreamTerms, slotOf, withEnoughSecrets } from '../../streams/stream-terms.ts';
import { standInSecrets } from '../stand-in.ts';
import type { ReceivedOffer } from './responder-round.ts';

/** What the hybridizer was asked to join: copies, since the secrets are wiped. */
let joined: DeriveBatch[];
let fetches: QkdFetch[];
/** Every memory in which a source gave secrets. */
let given: Buffer[];
/** Of each algorithm, the packed secrets and ciphertexts of its one call. */
let made: Map<string, { ciphertexts: Buffer; sharedSecrets: Buffer }>;
/** Algorithms whose engine fails, or gives so many bytes too few. */
let broken: Map<string, KeyweaveError | { ciphertexts?: number; sharedSecrets?: number }>;
/** Keys that the key manager still has. */
let keysLeft: number;
/** The number of the fetch that it refuses. */
let refusedFetch: number;
let whileDeriving: () => void;
let seed: Secret | undefined;
let bench: ResponderBench;

/** `count` items of `size` bytes, each of a byte of its own, from `first` on. */
const items = (count: number, size: number, first: number) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.alloc(size, first + i)));

beforeEach(() => {
  [joined, fetches, given] = [[], [], []];
  [made, broken, keysLeft] = [new Map(), new Map(), 1_000];
  [refusedFetch, whileDeriving] = [-1, () => undefined];
  seed = new Secret(Buffer.alloc(32, 5));
  bench = new ResponderBench({
    encapsulate: async (request) => encapsulate(request),
    fetchKeys: async (request) => ({ results: request.fetches.map(fetched), blockBytes: 0 }),
    derive: async ({ batches }) => {
      whileDeriving();
      return { batches: batches.map(derived) };
    },
    seeds: { of: () => seed },
  });
});

function encapsulate({ algorithm, publicKeys }: EncapsulateRequest) {
  const slot = slotOf(algorithm);
  const fault = broken.get(algorithm);
  if (fault instanceof KeyweaveError) throw fault;
  const count = publicKeys.length / slot.publicKeyBytes;
  const sharedSecrets = items(count, slot.sharedSecretBytes, 0x10);
  const ciphertexts = items(count, slot.ciphertextBytes, 0x80);
  made.set(algorithm, { ciphertexts: Buffer.from(ciphertexts), sharedSecrets: Buffer.from(sharedSecrets) });
  given.push(sharedSecrets);
  return {
    ciphertexts: ciphertexts.subarray(fault?.ciphertexts ?? 0),
    sharedSecrets: sharedSecrets.subarray(fault?.sharedSecrets ?? 0),
  };
}

function fetched(fetch: QkdFetch) {
  fetches.push(fetch);
  if (fetches.length - 1 === refusedFetch) {
    return { keys: Buffer.alloc(0), failure: { reason: 'QKD_UNAVAILABLE', detail: 'no link' }, keyNames: [] };
  }
  const keys = items(Math.min(fetch.count, keysLeft), 32, 0x40);
  keysLeft -= keys.length / 32;
  given.push(keys);
  return { keys, failure: undefined, keyNames: [] };
}

function derived(batch: DeriveBatch) {
  joined.push({
    ...batch,
    slots: batch.slots.map((slot) => ({ ...slot, secrets: Buffer.from(slot.secrets) })),
  });
  return {
    keys: Buffer.alloc(batch.count * batch.chunkBytes, 1),
    initiatorTags: Buffer.alloc(batch.count * 32, 2),
    responderTags: Buffer.alloc(batch.count * 32, 3),
    failure: undefined,
  };
}

/** An offer of a stream of its own, whose public keys are all of the byte `mark`. */
function offered(
  keySources: string[],
  count: number,
  change: Partial<BatchOffer> = {},
  mark = 1,
  terms = termsOf('hkdf-sha384', keySources),
) {
  const producer = bench.producer({ terms, allowDegraded: true });
  const { publicKeys, qkd } = offerOf(producer, count);
  const offer = offerOf(producer, count, {
    firstIndex: 3,
    publicKeys: publicKeys.map(({ slot, publicKeys }) => ({
      slot,
      publicKeys: items(count, publicKeys.length / count, mark),
    })),
    qkd: qkd && { ...qkd, qkdKeyStreamId: 'shared' },
    ...change,
  });
  return { offer, producer };
}

const answersTo = (...offers: ReceivedOffer[]) => bench.answer(...offers);
const reasons = (answers: readonly BatchAnswer[]) => answers.map(({ failure }) => failure?.reason);
/** Fails where a key is left that a batch has got, and is there once all have ended. */
const assertWiped = () => {
  bench.reservoirs.stop();
  for (const secrets of given)
    assert.ok(
      secrets.every((byte) => byte === 0),
      'a secret outlived its round',
    );
};

describe('ResponderRound', () => {
  it('gives each chunk the secrets of its own slots, in the agreed order', async () => {
    const [one, other] = [offered(['ML-KEM-768', 'QKD'], 2), offered(['QKD', 'ML-KEM-768', 'QKD'], 3, {}, 9)];
    const answers = await answersTo(one, other);
    assert.deepEqual(reasons(answers), [undefined, undefined]);
    const kem = made.get('ML-KEM-768') as { ciphertexts: Buffer; sharedSecrets: Buffer };
    assert.deepEqual(
      joined.map(({ slots }) => slots.map(({ secrets }) => secrets)),
      [
        [items(2, 32, 0x10), items(2, 32, 0x40)],
        [items(3, 32, 0x40), items(3, 32, 0x12), items(3, 32, 0x43)],
      ],
    );
    assert.deepEqual(
      [joined[0]?.slots[0], joined[1]?.slots[1]].map((slot) => slot?.publicKeyDigests),
      [digestPacked(items(2, 1184, 1), 1184), digestPacked(items(3, 1184, 9), 1184)],
    );
    assert.deepEqual(
      [joined[0]?.slots[0], joined[1]?.slots[1]].map((slot) => slot?.ciphertextDigests),
      [items(2, 1088, 0x80), items(3, 1088, 0x82)].map((ciphertexts) => digestPacked(ciphertexts, 1088)),
    );
    assert.deepEqual(
      answers.map(({ ciphertexts }) => ciphertexts),
      [
        [{ slot: 0, ciphertexts: kem.ciphertexts.subarray(0, 2 * 1088) }],
        [{ slot: 1, ciphertexts: kem.ciphertexts.subarray(2 * 1088) }],
      ],
    );
    assert.deepEqual(
      joined.map(({ firstIndex, count, context }) => [firstIndex, count, context?.qkdKeyStreamId]),
      [
        [3, 2, 'shared'],
        [3, 3, 'shared'],
      ],
    );
    assertWiped();
  });

  it('holds back what it made until the initiator proves that it has the same', async () => {
    const one = offered(['ML-KEM-768', 'QKD'], 2);
    const [answer] = await answersTo(one);
    assert.deepEqual([answer?.responderTags, answer?.buffered], [Buffer.alloc(64, 3), 0]);
    const { producer, offer } = one;
    assert.equal(producer.coming, 2);
    assert.equal(producer.confirm({ ...offer, initiatorTags: Buffer.alloc(64, 2) }).released, true);
    assert.equal(producer.stream.buffer.size, 2);
  });

  it('makes a shorter batch where its one QKD slot runs low, of the first keys', async () => {
    keysLeft = 2;
    const [answer] = await answersTo(offered(['ML-KEM-768', 'QKD'], 4));
    assert.deepEqual([answer?.count, answer?.ciphertexts[0]?.ciphertexts.length], [2, 2 * 1088]);
    const [kem, qkd] = joined[0]?.slots ?? [];
    assert.deepEqual([kem?.secrets, qkd?.secrets], [items(2, 32, 0x10), items(2, 32, 0x40)]);
    assert.deepEqual(kem?.publicKeyDigests, digestPacked(items(2, 1184, 1), 1184));
    assertWiped();
  });

  it('makes chunks of several QKD slots while there is a key for each, and leaves the others', async () => {
    keysLeft = 5;
    const [few] = await answersTo(offered(['QKD', 'QKD'], 3));
    assert.deepEqual([few?.count, few?.qkdTaken], [2, 4]);
    assert.deepEqual(
      joined[0]?.slots.map(({ secrets }) => secrets),
      [items(2, 32, 0x40), items(2, 32, 0x42)],
    );
    keysLeft = 1;
    const [none] = await answersTo(offered(['QKD', 'QKD'], 3));
    assert.deepEqual([none?.count, none?.failure?.reason, none?.qkdTaken], [0, 'INSUFFICIENT_KEY', 0]);
    assert.equal(joined.length, 1);
    assertWiped();
  });

  it('says how many QKD keys it has taken, also for a batch that it then fails to make', async () => {
    const [one, other] = [offered(['ML-KEM-768', 'QKD'], 2), offered(['QKD', 'QKD'], 3)];
    const made = await answersTo(one, other);
    assert.deepEqual(
      made.map(({ qkdTaken }) => qkdTaken),
      [2, 6],
    );
    whileDeriving = () => {
      throw new KeyweaveError('INTERNAL', 'away');
    };
    const failed = await answersTo(offered(['ML-KEM-768', 'QKD'], 2), offered(['ML-KEM-768'], 1));
    assert.deepEqual(
      failed.map(({ count, qkdTaken }) => [count, qkdTaken]),
      [
        [0, 2],
        [0, 0],
      ],
    );
    assertWiped();
  });

  it('fails the batches of a KEM engine that fails, reads no QKD key for them, and makes the others', async () => {
    broken.set('sntrup761', new KeyweaveError('SERVICE_UNAVAILABLE', 'the engine is away'));
    const lost = offered(['sntrup761', 'QKD'], 2);
    const answers = await answersTo(lost, offered(['ML-KEM-768', 'QKD'], 2));
    assert.match(answers[0]?.failure?.detail ?? '', /the engine is away/);
    assert.deepEqual([answers[1]?.count, answers[1]?.failure], [2, undefined]);
    assert.equal(fetches.length, 1);
    assert.equal(lost.producer.coming, 0, 'room is kept for what does not come');
    assertWiped();
  });

  it('takes no KEM results of a wrong size, and wipes them', async () => {
    for (const fault of [{ ciphertexts: 1 }, { sharedSecrets: 1 }]) {
      broken.set('ML-KEM-768', fault);
      const [answer] = await answersTo(offered(['ML-KEM-768'], 2));
      assert.deepEqual([answer?.count, answer?.failure?.reason], [0, 'INTERNAL']);
      assert.match(answer?.failure?.detail ?? '', /wrong size/);
    }
    for (const secrets of given) assert.ok(secrets.subarray(1).every((byte) => byte === 0));
    assert.deepEqual(joined, []);
  });

  it('fails a batch whose QKD is out of step alone', async () => {
    const astray = offered(['ML-KEM-768', 'QKD'], 2);
    astray.offer.qkd = qkdReference({ reservoir: astray.producer.stream.idBytes, position: 5_000n });
    const answers = await answersTo(astray, offered(['ML-KEM-768', 'QKD'], 2));
    assert.deepEqual(reasons(answers), ['QKD_OUT_OF_STEP', undefined]);
    assert.equal(fetches.length, 1);
    assertWiped();
  });

  it('fails a batch whose keys qkd-source refuses alone', async () => {
    const refusing = offered(['ML-KEM-768', 'QKD'], 2);
    refusedFetch = 0;
    const answers = await answersTo(refusing, offered(['ML-KEM-768', 'QKD'], 2));
    assert.deepEqual(reasons(answers), ['QKD_UNAVAILABLE', undefined]);
  });

  it('lets a shared_seed stand in for the QKD slot, and reads no QKD key for it', async () => {
    const one = offered(['ML-KEM-768', 'QKD'], 2, { degradedSlot: 2, qkd: undefined });
    const [answer] = await answersTo(one);
    assert.equal(answer?.count, 2);
    assert.deepEqual(fetches, []);
    const { stream } = one.producer;
    assert.deepEqual(
      joined[0]?.slots.map(({ secrets }) => secrets),
      [items(2, 32, 0x10), standInSecrets(bench.tools.seeds, { stream, first: 3, count: 2 }, 1)],
    );
    assert.deepEqual(
      answer?.ciphertexts.map(({ slot }) => slot),
      [0],
    );
  });

  it('asks no source for the stand-in that a method needs beside its one source', async () => {
    const terms = withEnoughSecrets(
      readStreamTerms(`hybrid://app@${ALICE}`, `hybrid://app@${BOB}`, {
        method: 'xoring',
        keySources: ['QKD'],
      }),
      { mayDegrade: true },
    );
    const one = offered(['QKD'], 2, { degradedSlot: 2 }, 1, terms);
    assert.deepEqual(reasons(await answersTo(one)), [undefined]);
    assert.deepEqual([made.size, fetches[0]?.count], [0, 2]);
    assert.deepEqual(
      joined[0]?.slots.map(({ secrets }) => secrets),
      [
        items(2, 32, 0x40),
        standInSecrets(bench.tools.seeds, { stream: one.producer.stream, first: 3, count: 2 }, 1),
      ],
    );
    seed = undefined;
    const without = offered(['QKD'], 2, { degradedSlot: 2 }, 1, terms);
    assert.deepEqual(reasons(await answersTo(without)), ['AGREEMENT_FAILED']);
    assert.equal(fetches.length, 2, 'its QKD keys were read at the other end, too');
    assertWiped();
  });

  it('fails a batch whose stand-in has no shared_seed alone', async () => {
    seed = undefined;
    const answers = await answersTo(
      offered(['ML-KEM-768', 'QKD'], 2, { degradedSlot: 2, qkd: undefined }),
      offered(['ML-KEM-768', 'QKD'], 2),
    );
    assert.deepEqual(reasons(answers), ['AGREEMENT_FAILED', undefined]);
    assertWiped();
  });

  it('fails every batch, and no stream, where the hybridizer is away', async () => {
    whileDeriving = () => {
      throw new KeyweaveError('INTERNAL', 'away');
    };
    const both = [offered(['ML-KEM-768'], 2), offered(['QKD'], 2)];
    assert.deepEqual(reasons(await answersTo(...both)), ['INTERNAL', 'INTERNAL']);
    assert.deepEqual(
      both.map(({ producer }) => producer.coming),
      [0, 0],
    );
    assertWiped();
  });

  it('says why there is no stream for an offer, in an answer that says nothing else', async () => {
    const producer = new KeyweaveError('UNKNOWN_STREAM', 'who?');
    const [answer, other] = await answersTo({ ...offered(['QKD'], 1), producer }, offered(['QKD'], 1));
    const nothing = Buffer.alloc(0);
    assert.deepEqual(answer, {
      ...{
        count: 0,
        ciphertexts: [],
        responderTags: nothing,
        buffered: 0,
        qkdBlockKeys: 0,
        most: 0,
        qkdTaken: 0,
      },
      failure: { reason: 'UNKNOWN_STREAM', detail: 'who?' },
    });
    assert.equal(other?.count, 1);
  });

  it('drops what was made for a stream that has been closed meanwhile', async () => {
    const closing = offered(['ML-KEM-768'], 1);
    whileDeriving = () => closing.producer.stop();
    const answers = await answersTo(closing, offered(['ML-KEM-768'], 1));
    assert.deepEqual(reasons(answers), ['UNKNOWN_STREAM', undefined]);
  });
});
