import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { CALL_LIMITS, MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type {
  BatchAnswer,
  KeyAgreementServiceImplementation,
  QkdReadiness,
  QkdReference,
} from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  APPLICATION,
  BOB,
  CAROL,
  from,
  IdleInitiator,
  IdleResponder,
  incarnation,
  ksidOf,
  nameOf,
  type Openings,
  openingsOf,
  type TestStream,
  termsOf,
} from '#test/helpers/openings.ts';
import { answerOf, keyStream, LIVING, qkdReference } from '#test/helpers/streams.ts';
import { createAgreementService, type ReceivedOffer } from './agreement-service.ts';

let alice: Openings;
let service: KeyAgreementServiceImplementation;
/** Rounds that wait for the test, oldest first. */
let rounds: { offers: readonly ReceivedOffer[]; done: PromiseWithResolvers<void> }[];
/** Epochs of QKD keys that are being opened. */
let prepared: {
  reference: QkdReference;
  peer: string;
  node: string;
  done: PromiseWithResolvers<QkdReadiness>;
}[];

beforeEach(() => {
  alice = openingsOf(ALICE);
  [rounds, prepared] = [[], []];
  service = createAgreementService({
    ...alice,
    nodeUuid: ALICE,
    rounds: {
      prepare: (reference, peer, node) => {
        const done = Promise.withResolvers<QkdReadiness>();
        prepared.push({ reference, peer, node, done });
        return done.promise;
      },
      answer: async (offers) => {
        const done = Promise.withResolvers<void>();
        rounds.push({ offers, done });
        await done.promise;
        return offers.map(({ offer }) => answerOf(offer.count));
      },
    },
  });
});

/** The `n`-th stream with Bob's node, which this node leads or not. */
function streamOf(n: number, role: 'initiator' | 'responder' = 'initiator'): TestStream {
  const stream: TestStream = keyStream({
    ...{ id: ksidOf(n).text, role, clock: alice.clock, maxBufferedChunks: 4 },
    terms: role === 'initiator' ? termsOf('app', ALICE, BOB) : termsOf('app', BOB, ALICE),
    route: { nextHop: BOB, farNode: BOB, hops: 0 },
    producer: () => (role === 'initiator' ? new IdleInitiator() : new IdleResponder()),
  });
  alice.store.add(stream);
  return stream;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const UNKNOWN = { keyStreamId: ksidOf(99).bytes, incarnation: incarnation(1) };

describe('Close at the initiator', () => {
  it('waits for what the other end may have read, so that no key is given to one end alone', async () => {
    const stream = streamOf(1);
    stream.join(APPLICATION);
    const settling = Promise.withResolvers<void>();
    assert.ok(stream.producer instanceof IdleInitiator);
    stream.producer.settling = settling.promise;
    const waiting = stream.take(undefined, 5_000, () => undefined, LIVING);
    const closed = service.close({ ...nameOf(stream), reason: 'done' }, from(BOB));
    await turn();
    assert.equal(stream.peer, 'absent', 'the end came before the answer to the confirmation');
    stream.release(0, Buffer.alloc(32, 7), false);
    settling.resolve();
    assert.equal((await waiting).index, 0);
    await closed;
    assert.equal(stream.peer, 'closed');
  });
});

describe('Demand', () => {
  const demand = async (name: { keyStreamId: Uint8Array; incarnation: Uint8Array }, peer = BOB) => {
    const { answers } = await service.demand(
      { demands: [{ ...name, count: 3, waitedFor: true }] },
      from(peer),
    );
    return answers?.[0]?.failure?.reason ?? 'noted';
  };

  it('is refused, each for itself, of streams that are unknown, of another peer, full, or led by the other end', async () => {
    const [stream, led] = [streamOf(1), streamOf(2, 'responder')];
    assert.equal(await demand(UNKNOWN), 'UNKNOWN_STREAM');
    assert.equal(await demand(nameOf(stream), CAROL), 'UNKNOWN_STREAM');
    assert.equal(await demand({ ...nameOf(stream), incarnation: incarnation(9) }), 'UNKNOWN_STREAM');
    assert.equal(await demand(nameOf(led)), 'BAD_REQUEST');
    assert.equal(await demand(nameOf(stream)), 'noted');
    stream.release(0, Buffer.alloc(4 * 32), false);
    assert.equal(await demand(nameOf(stream)), 'NO_ROOM');
    stream.buffer.wipe();
    const both = [UNKNOWN, nameOf(stream)].map((name) => ({ ...name, count: 1, waitedFor: false }));
    const { answers } = await service.demand({ demands: both }, from(BOB));
    assert.deepEqual(
      answers?.map(({ failure }) => failure?.reason),
      ['UNKNOWN_STREAM', undefined],
    );
    assert.ok(stream.producer instanceof IdleInitiator);
    assert.deepEqual(stream.producer.demanded, [
      [3, true],
      [1, false],
    ]);
  });
});

describe('Produce and Confirm at the responder', () => {
  const batch = { firstIndex: 0, count: 1 };
  const offerOf = (stream: TestStream) => ({
    ...{ ...nameOf(stream), ...batch, publicKeys: [], qkd: undefined, degradedSlot: 0 },
  });

  it('reach what makes the stream’s chunks: confirmations first, then the offers together', async () => {
    const [one, two] = [streamOf(1, 'responder'), streamOf(2, 'responder')];
    const confirmation = { ...nameOf(one), ...batch, initiatorTags: Buffer.alloc(32) };
    const offers = [one, two].map(offerOf);
    const produced = service.produce({ offers, confirmations: [confirmation], qkd: undefined }, from(BOB));
    await turn();
    assert.equal(rounds.length, 1);
    assert.deepEqual(
      rounds[0]?.offers.map(({ offer, producer }) => [offer, producer]),
      [
        [offers[0], one.producer],
        [offers[1], two.producer],
      ],
    );
    rounds[0]?.done.resolve();
    const { answers, decisions } = await produced;
    assert.deepEqual(
      [answers?.length, decisions],
      [2, [{ released: true, buffered: 1, failure: undefined }]],
    );
    assert.ok(one.producer instanceof IdleResponder);
    assert.deepEqual(one.producer.confirmations, [confirmation]);
    assert.equal((await service.confirm({ confirmations: [confirmation] }, from(BOB))).decisions?.length, 1);
    assert.equal(one.producer.confirmations.length, 2);
  });

  it('have QKD keys opened that the peer announces, in its name, beside the offers', async () => {
    const qkd = qkdReference({ qkdKeyStreamId: 'shared' });
    const offers = [offerOf(streamOf(1, 'responder'))];
    const produced = service.produce({ offers, confirmations: [], qkd }, from(BOB));
    await turn();
    assert.deepEqual(
      prepared.map(({ done, ...others }) => others),
      [{ reference: qkd, peer: BOB, node: ALICE }],
    );
    assert.equal(rounds.length, 1, 'the offers wait for the key manager');
    rounds[0]?.done.resolve();
    const readiness = { failure: undefined, blockKeys: 16 };
    prepared[0]?.done.resolve(readiness);
    const { answers, qkd: ready } = await produced;
    assert.deepEqual([answers?.length, ready], [1, readiness]);
  });

  it('say nothing of QKD keys that nobody has announced', async () => {
    const produced = service.produce({ offers: [], confirmations: [], qkd: undefined }, from(BOB));
    await turn();
    rounds[0]?.done.resolve();
    assert.deepEqual([(await produced).qkd, prepared], [undefined, []]);
  });

  it('refuse lists that are too long, and say how long they may be', async () => {
    const confirmation = { ...UNKNOWN, ...batch, initiatorTags: Buffer.alloc(32) };
    const { confirmations, demands } = MESSAGE_LIMITS;
    const many = (count: number) => Array.from({ length: count }, () => confirmation);
    await assert.rejects(
      service.confirm({ confirmations: many(confirmations.taken + 1) }, from(BOB)),
      (error) =>
        isReason(error, 'BAD_REQUEST') &&
        String(error).includes(`at most ${confirmations.taken} confirmations`),
    );
    const full = many(confirmations.taken);
    assert.equal((await service.confirm({ confirmations: full }, from(BOB))).decisions?.length, full.length);
    const one = { ...UNKNOWN, count: 1, waitedFor: false };
    await assert.rejects(
      service.demand({ demands: Array.from({ length: demands.taken + 1 }, () => one) }, from(BOB)),
      /BAD_REQUEST: .* demands, not /,
    );
  });

  it('work on so many rounds of a peer at a time, even of those it has cancelled, and on those of another beside them', async () => {
    const responder = streamOf(3, 'responder');
    const leading = streamOf(4);
    const produce = async (peer = BOB) =>
      (await service.produce({ offers: [offerOf(responder)], confirmations: [], qkd: undefined }, from(peer)))
        .answers as BatchAnswer[];
    const running = Array.from({ length: CALL_LIMITS.produce.taken }, () => produce());
    await turn();
    assert.equal(rounds.length, CALL_LIMITS.produce.taken);
    await assert.rejects(produce(), (error) => isReason(error, 'LIMIT_EXCEEDED'));
    const others = produce(CAROL);
    await turn();
    const { producer } = rounds.at(-1)?.offers[0] ?? {};
    assert.ok(isReason(producer, 'UNKNOWN_STREAM'), 'the other peer got the stream');
    const demands = [{ ...nameOf(leading), count: 1, waitedFor: true }];
    const { answers } = await service.demand({ demands }, from(BOB));
    assert.equal(answers?.[0]?.failure, undefined);
    for (const { done } of rounds) done.resolve();
    await Promise.all([...running, others]);
  });
});
