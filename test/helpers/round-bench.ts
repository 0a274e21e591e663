import assert from 'node:assert/strict';
import { mock } from 'node:test';
import { asBuffer } from '#common/crypto/bytes.ts';
import { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { systemClock } from '#common/time/clock.ts';
import type { DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import type {
  BatchAnswer,
  BatchConfirmation,
  BatchDecision,
  BatchOffer,
} from '#gen/keyweave/v1/key_agreement.ts';
import { createHybridizerClient } from '../../services/gateway/clients/hybridizer-client.ts';
import type { KeyPairs } from '../../services/gateway/clients/kem-client.ts';
import type { PeerLink } from '../../services/gateway/clients/peer-link.ts';
import type { QkdSequence } from '../../services/gateway/clients/qkd-sequence.ts';
import type { Batch } from '../../services/gateway/production/batch.ts';
import type { Asker, Confirmations } from '../../services/gateway/production/initiator/confirmations.ts';
import type { InitiatorProducer } from '../../services/gateway/production/initiator/initiator-producer.ts';
import { InitiatorRound } from '../../services/gateway/production/initiator/initiator-round.ts';
import type { RoundTools } from '../../services/gateway/production/round-tools.ts';
import type { InitiatorEpoch } from '../../services/gateway/reservoirs/initiator/initiator-epoch.ts';
import type { QkdGrant } from '../../services/gateway/reservoirs/initiator/qkd-grant.ts';
import type { KeyStream } from '../../services/gateway/streams/key-stream.ts';
import { slotOf, standInFor } from '../../services/gateway/streams/stream-terms.ts';
import { answerOf, keyStream, qkdReference, termsOf } from './streams.ts';

/**
 * Rounds of the initiator whose services and peer are stand-ins that a test
 * bends to its will; a round that leaves a secret behind fails.
 */

export const PUBLIC_KEY_BYTES = 1184;
export const CIPHERTEXT_BYTES = 1088;
/** What the stand-in for the hybridizer gives: tags of one byte, over and over; the first key's byte, the next one's is one more. */
export const [INITIATOR, RESPONDER, KEY] = [0x11, 0x22, 0xc1];

export const fail = (reason: ErrorReason) => Promise.reject(new KeyweaveError(reason, 'as the test says'));
const isZero = (bytes: Buffer) => bytes.every((byte) => byte === 0);
/** Items of `bytes` each, the i-th of bytes `first + i`. */
export const items = (count: number, bytes: number, first: number) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => Buffer.alloc(bytes, first + i)));

/** What was done, in order. */
export let calls: string[];
/** Everything secret that passed through the initiator's hands. */
export let secrets: Buffer[];
export let derived: DeriveRequest['batches'];
export let offered: BatchOffer[];
export let asked: { confirmation: BatchConfirmation; asker: Asker; urgent: boolean }[];
/** What pqc-source was given to decapsulate. */
export let received: Buffer[];
export let dropped: number[];
export let discarded: number[];
/** What the test changes: the steps of others. */
export let others: {
  publicKeys: (algorithm: string, count: number) => Promise<Buffer>;
  answer: (offer: BatchOffer) => BatchAnswer;
  answers: (all: BatchAnswer[]) => Promise<BatchAnswer[]>;
  decapsulate: (algorithm: string, made: Buffer) => Promise<Buffer>;
  derive: () => Promise<void>;
  confirm: () => Promise<void>;
  seed: Secret | undefined;
};
let tools: RoundTools;
let link: Pick<PeerLink, 'produce'>;

/** Everything as it should be, and nothing done yet. */
export function newRound(): void {
  [calls, secrets, derived, offered, asked, received, dropped, discarded] = [[], [], [], [], [], [], [], []];
  const made = new Map<KeyPairs, number>();
  others = {
    publicKeys: async (algorithm, count) => items(count, slotOf(algorithm).publicKeyBytes, 0x30),
    answer: agreed,
    answers: async (all) => all,
    decapsulate: async (_, made) => made,
    derive: async () => undefined,
    confirm: async () => undefined,
    seed: new Secret(Buffer.from('a seed that both nodes know')),
  };
  tools = {
    kem: {
      generate: async ({ algorithm }, count) => {
        calls.push(`generate ${count} ${algorithm}`);
        const pairs = { publicKeys: Buffer.alloc(0) };
        made.set(pairs, made.size);
        return Object.assign(pairs, { publicKeys: await others.publicKeys(algorithm, count) });
      },
      /** The secret of a ciphertext is its first byte, over and over. */
      decapsulate: async ({ algorithm, ciphertextBytes }, _, ciphertexts) => {
        received.push(asBuffer(ciphertexts));
        const count = ciphertexts.length / ciphertextBytes;
        calls.push(`decapsulate ${count} ${algorithm}`);
        const shared = Buffer.alloc(count * 32);
        for (let i = 0; i < count; i++)
          shared.fill(ciphertexts[i * ciphertextBytes] ?? 0, i * 32, (i + 1) * 32);
        secrets.push(shared);
        return others.decapsulate(algorithm, shared);
      },
      discard: (pairs) => discarded.push(made.get(pairs) as number),
      encapsulate: () => fail('INTERNAL'),
      unavailable: () => fail('INTERNAL'),
    },
    hybridizer: createHybridizerClient({
      derive: async (request) => {
        const { batches } = request as DeriveRequest;
        calls.push(`derive ${batches.map(({ count }) => count).join()}`);
        derived = structuredCopy(batches);
        for (const { slots } of batches) secrets.push(...slots.map((slot) => asBuffer(slot.secrets)));
        await others.derive();
        return {
          batches: batches.map(({ count }) => ({
            keys: items(count, 32, KEY),
            initiatorTags: Buffer.alloc(count * 32, INITIATOR),
            responderTags: Buffer.alloc(count * 32, RESPONDER),
            failure: undefined,
          })),
        };
      },
    }),
    seeds: { of: () => others.seed },
    clock: systemClock,
  };
  link = {
    produce: async ({ offers, confirmations }) => {
      calls.push('produce');
      offered = offers;
      return {
        answers: await others.answers(offers.map((offer) => others.answer(offer))),
        decisions: confirmations as unknown as BatchDecision[],
        qkd: undefined,
      };
    },
  };
}

/** The secrets as they were when the hybridizer got them. */
const structuredCopy = (batches: DeriveRequest['batches']) =>
  batches.map((batch) => ({
    ...batch,
    slots: batch.slots.map((slot) => ({ ...slot, secrets: Buffer.from(slot.secrets) })),
  }));

/** A responder's answer to all of an offer: the i-th ciphertext of a slot is of bytes `0x40 + 16 * slot + i`. */
export const agreed = ({ count, publicKeys }: BatchOffer, made = count): BatchAnswer => ({
  ...answerOf(made),
  responderTags: Buffer.alloc(made * 32, RESPONDER),
  ciphertexts: publicKeys.map(({ slot, publicKeys: keys }) => ({
    slot,
    ciphertexts: items(
      made,
      keys.length / count === PUBLIC_KEY_BYTES ? CIPHERTEXT_BYTES : 768,
      0x40 + 16 * slot,
    ),
  })),
});

/** A stream's producer that notes how its batch comes out. */
export function entry(
  options: {
    sources?: readonly string[];
    first?: number;
    count?: number;
    /** Slot that a shared_seed stands in for. */
    standIn?: number;
    /** The terms name the stand-in as their last slot. */
    namesStandIn?: boolean;
  } = {},
) {
  const { sources = ['ML-KEM-768', 'QKD'], first = 5, count = 2, standIn } = options;
  const terms = termsOf('hkdf-sha384', sources);
  const slots = options.namesStandIn ? [...terms.slots, standInFor(slotOf('QKD'))] : terms.slots;
  const stream: KeyStream = keyStream({ terms: { ...terms, slots } });
  const taken = slots.filter((slot, i) => slot.algorithm === 'QKD' && i !== standIn).length * count;
  const grant: QkdGrant | undefined =
    taken === 0
      ? undefined
      : {
          epoch: {} as InitiatorEpoch,
          sequence: {} as QkdSequence,
          first: 4,
          keys: items(taken, 32, 0x80),
          sinceMs: 0,
        };
  if (grant) secrets.push(grant.keys);
  /** Stands in for the stream's part of the reservoir: whatever is settled is settled once. */
  const qkd = {
    settled: 0,
    use({ keys }: QkdGrant, made: number) {
      assert.equal(this.settled++, 0, 'a grant was settled twice');
      calls.push(`use ${(made * taken) / count}`);
      const used = Buffer.from(keys.subarray(0, (made * keys.length) / count));
      secrets.push(used);
      keys.fill(0);
      return used;
    },
    drop({ keys }: QkdGrant, burned: number, why: string) {
      assert.equal(this.settled++, 0, 'a grant was settled twice');
      calls.push(`drop ${burned} ${why}`);
      keys.fill(0);
    },
  };
  const producer = {
    ...{ stream, qkd, stopped: false, urgent: false },
    answers: [] as BatchAnswer[],
    made: undefined as number | undefined,
    outcome: undefined as Promise<Buffer> | undefined,
    answered(_: Batch, answer: BatchAnswer) {
      this.answers.push(answer);
    },
    end(_: Batch, made: number, outcome: Promise<Buffer>) {
      this.made = made;
      this.outcome = outcome;
      outcome.then(
        (keys) => secrets.push(keys),
        () => undefined,
      );
    },
  };
  const batch: Batch<InitiatorProducer> = {
    producer: producer as unknown as InitiatorProducer,
    ...{ stream, first, count, standIn, grant },
    qkd: grant && qkdReference({ position: 4n }),
  };
  return { stream, grant, producer, batch };
}

export type Entry = ReturnType<typeof entry>;

export let rides: string[];

/** The round of the entries, both halves; it leaves nothing that is still secret but the keys that it gave. */
export async function run(...entries: Entry[]): Promise<void> {
  rides = [];
  const confirmations = {
    board: () => ({
      confirmations: [{ released: true } as unknown as BatchConfirmation],
      arrived: (decisions: unknown[]) => rides.push(`arrived ${decisions.length}`),
      lost: (error: KeyweaveError) => rides.push(`lost ${error.reason}`),
    }),
    confirm: (confirmation: BatchConfirmation, asker: Asker, urgent: boolean) => {
      calls.push('confirm');
      asked.push({ confirmation, asker, urgent });
      return others.confirm();
    },
    drop: ({ firstIndex }: BatchConfirmation, asker: Asker) => {
      assert.equal(asker.stopped(), false);
      asker.onLost(new KeyweaveError('TIMEOUT', 'nobody waits for it'));
      dropped.push(firstIndex);
    },
  };
  const batches = entries.map(({ batch }) => batch);
  const round = new InitiatorRound({
    ...{ tools, link: link as PeerLink, batches },
    confirmations: confirmations as unknown as Confirmations,
  });
  const allocated: Buffer[] = [];
  const allocate = Buffer.allocUnsafeSlow.bind(Buffer);
  mock.method(Buffer, 'allocUnsafeSlow', (bytes: number) => {
    const buffer = allocate(bytes);
    allocated.push(buffer);
    return buffer;
  });
  await round.offer();
  await round.finish();
  for (const { grant, producer } of entries) assert.equal(producer.qkd.settled, grant ? 1 : 0);
  const given = await Promise.allSettled(entries.map(({ producer }) => producer.outcome));
  const kept = given.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  for (const [i, bytes] of secrets.entries())
    assert.ok(kept.includes(bytes) || isZero(bytes), `secret ${i} of ${secrets.length} was not wiped`);
  mock.restoreAll();
  const left = allocated.filter((bytes) => bytes.includes(Buffer.alloc(32, KEY)) && !kept.includes(bytes));
  assert.equal(left.length, 0, 'keys that nobody gets were not wiped');
}

export const keysOf = async ({ producer }: Entry) => [...new Set(await producer.outcome)];
export const fails = (one: Entry, reason: ErrorReason, detail = /./) =>
  assert.rejects(one.producer.outcome as Promise<Buffer>, (error: KeyweaveError) => {
    assert.equal(error.reason, reason, error.detail);
    assert.match(error.detail, detail);
    return true;
  });
