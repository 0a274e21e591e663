import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { type CallContext, Metadata } from 'nice-grpc';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  BOB,
  from,
  IdleResponder,
  idleInitiator,
  incarnation,
  ksidOf,
  nameOf,
  type Openings,
  offerOf,
  opened,
  openingsOf,
  settle,
  wishOf,
} from '#test/helpers/openings.ts';
import { LIVING } from '#test/helpers/streams.ts';
import type { KeyStream } from '../../streams/key-stream.ts';

let bob: Openings;

beforeEach(() => {
  bob = openingsOf(BOB);
});

const open = async (change: Partial<OpenRequest> = {}, n = 1) =>
  bob.agreement.open(offerOf('app', ALICE, BOB, n, change), from(ALICE));
const close = async (stream: KeyStream) =>
  bob.agreement.close({ ...nameOf(stream), reason: 'as the test says' }, from(ALICE));

/** A stream that Alice's node offers, which an application here has joined. */
async function led(): Promise<KeyStream> {
  await open();
  return bob.responder.open(wishOf('app', ALICE, BOB));
}

/** A stream that this node leads, and what its production was asked for. */
async function leading() {
  const stream = await bob.initiator.open(wishOf('app', BOB, ALICE, { ksid: ksidOf(2).text }));
  const producer = idleInitiator(stream);
  const { demanded } = producer;
  const demand = async (count: number, waitedFor = false) => {
    const demands = [{ ...nameOf(stream), count, waitedFor }];
    return (await bob.agreement.demand({ demands }, from(ALICE))).answers?.[0];
  };
  return { stream, producer, demanded, demand };
}

describe('Open', () => {
  const tellsWhy = async (reason: Parameters<typeof isReason>[1], change: Partial<OpenRequest>) => {
    let told: unknown;
    const gone = new AbortController();
    const waiting = bob.responder
      .open(wishOf('app', ALICE, BOB, { signal: gone.signal }))
      .catch((error: unknown) => {
        told = error;
      });
    await settle();
    await assert.rejects(open(change), (error) => isReason(error, reason));
    await settle();
    const atOnce = told;
    gone.abort();
    await waiting;
    return atOnce;
  };

  it('that is refused for what the application asked for tells it why, at once', async () => {
    assert.ok(isReason(await tellsWhy('REVISION_MISMATCH', { protocolVersion: 0 }), 'REVISION_MISMATCH'));
    assert.ok(isReason(await tellsWhy('UNSUPPORTED', { method: 'xoring', slots: [] }), 'UNSUPPORTED'));
  });

  it('that is refused for what only the other node does leaves the application waiting', async () => {
    assert.equal(await tellsWhy('BAD_REQUEST', { qos: undefined }), undefined);
  });

  it('is refused, and the application told, where no engine of this node can do it', async () => {
    const refusal = new KeyweaveError('UNSUPPORTED', 'no engine');
    bob = openingsOf(BOB, {}, 1, async () => Promise.reject(refusal));
    assert.equal(await tellsWhy('UNSUPPORTED', {}), refusal);
    assert.equal(bob.store.size, 0);
  });
});

describe('Produce and Confirm', () => {
  it('of a stream that this node leads are refused, each by itself', async () => {
    const { stream } = await leading();
    const batch = { ...nameOf(stream), firstIndex: 0, count: 1 };
    const offer = { ...batch, publicKeys: [], qkd: undefined, degradedSlot: 0 };
    const confirmation = { ...batch, initiatorTags: Buffer.alloc(32) };
    const unknown = { ...confirmation, keyStreamId: Buffer.alloc(16, 9) };
    const { answers, decisions } = await bob.agreement.produce(
      { offers: [offer], confirmations: [confirmation, unknown], qkd: undefined },
      from(ALICE),
    );
    assert.deepEqual(
      answers?.map(({ failure }) => failure?.reason),
      ['BAD_REQUEST'],
    );
    assert.deepEqual(
      decisions?.map(({ released, buffered, failure }) => [released, buffered, failure?.reason]),
      [
        [false, 0, 'BAD_REQUEST'],
        [false, 0, 'UNKNOWN_STREAM'],
      ],
    );
  });

  it('carry no more than a message may', async () => {
    const stream = await led();
    const offer = { ...nameOf(stream), ...{ firstIndex: 0, count: 1, publicKeys: [], qkd: undefined } };
    const { taken } = MESSAGE_LIMITS.offers;
    const produce = async (count: number) =>
      bob.agreement.produce(
        {
          offers: Array.from({ length: count }, () => ({ ...offer, degradedSlot: 0 })),
          ...{ confirmations: [], qkd: undefined },
        },
        from(ALICE),
      );
    await assert.rejects(
      produce(taken + 1),
      (error) =>
        isReason(error, 'BAD_REQUEST') && String(error).includes(`${taken} offers, not ${taken + 1}`),
    );
    assert.equal((await produce(taken)).answers?.length, taken);
  });
});

describe('Demand', () => {
  it('asks for at least one chunk, and for no more than there is room for', async () => {
    const { stream, demanded, demand } = await leading();
    const room = stream.maxBufferedChunks;
    stream.release(0, Buffer.alloc(3 * 32), false);
    assert.deepEqual(await demand(0, true), { buffered: 3, failure: undefined });
    await demand(5);
    await demand(room + 1);
    assert.deepEqual(demanded, [
      [1, true],
      [5, false],
      [room - 3, false],
    ]);
  });

  it('asks for no more than the peer’s share of the memory takes', async () => {
    bob = openingsOf(BOB, { max_held_bytes_per_peer: 4 * 32 });
    const { stream, demanded, demand } = await leading();
    await demand(100);
    assert.deepEqual(demanded, [[4, false]]);
    stream.release(0, Buffer.alloc(4 * 32), false);
    stream.countHeld();
    assert.equal((await demand(1))?.failure?.reason, 'NO_ROOM');
    assert.match((await demand(1))?.failure?.detail ?? '', /max_held_bytes_per_peer/);
  });

  it('is refused while this end is full, and not before', async () => {
    bob = openingsOf(BOB, { max_buffered_chunks: 2 });
    const { stream, demanded, demand } = await leading();
    stream.release(0, Buffer.alloc(32), false);
    assert.equal((await demand(1))?.failure, undefined);
    stream.release(1, Buffer.alloc(32), false);
    const answer = await demand(1);
    assert.deepEqual([answer?.buffered, answer?.failure?.reason], [0, 'NO_ROOM']);
    assert.equal(demanded.length, 1);
  });

  it('takes as many as a message may carry', async () => {
    const { stream } = await leading();
    const one = { ...nameOf(stream), count: 1, waitedFor: false };
    const demands = Array.from({ length: MESSAGE_LIMITS.demands.taken }, () => one);
    assert.equal((await bob.agreement.demand({ demands }, from(ALICE))).answers?.length, demands.length);
  });
});

describe('Close', () => {
  it('of a joined stream leaves what is confirmed to its application, and drops what is not', async () => {
    const stream = await led();
    stream.release(0, Buffer.alloc(32), false);
    assert.deepEqual(await close(stream), {});
    assert.deepEqual([stream.peer, stream.ended, stream.buffer.size], ['closed', false, 1]);
    assert.ok(stream.producer instanceof IdleResponder);
    assert.equal(stream.producer.stopped, 1);
    assert.equal(bob.store.get(stream.id), stream);
  });

  it('of an offer that nobody has joined ends it, and an application that comes waits for another', async () => {
    await open();
    const offer = bob.store.get(ksidOf(1).text) as KeyStream;
    await close(offer);
    assert.throws(
      () => offer.take(undefined, 1_000, () => undefined, LIVING),
      (error) => isReason(error, 'UNKNOWN_STREAM'),
    );
    assert.deepEqual([offer.ended, bob.store.size], [true, 0]);
    assert.ok(bob.store.ended.has(ALICE, offer.id, incarnation(1)));
    const waiting = bob.responder.open(wishOf('app', ALICE, BOB));
    await settle();
    await open({}, 3);
    assert.equal((await waiting).id, ksidOf(3).text);
    assert.equal(bob.peerOf(ALICE).count('join'), 0, 'it tried to join what is closed');
  });

  it('of a stream that this node leads waits for confirmations that are on their way, and is answered after 2.5 s at the latest', async () => {
    const { stream, producer } = await leading();
    const settled = Promise.withResolvers<void>();
    producer.settling = settled.promise;
    let over = false;
    const closing = close(stream).then(() => {
      over = true;
    });
    await settle();
    await bob.clock.advance(2_250);
    assert.deepEqual([producer.settleLimitMs, over, stream.peer], [10_000, false, 'joined']);
    await bob.clock.advance(500);
    assert.deepEqual([over, stream.peer], [true, 'joined']);
    settled.resolve();
    await closing;
    await settle();
    assert.equal(stream.peer, 'closed');
  });

  it('of a stream whose opening is under way ends the opening', async () => {
    bob.peerOf(ALICE).script.open = async () => opened({ joined: false });
    const opening = bob.initiator.open(wishOf('app', BOB, ALICE, { ksid: ksidOf(2).text }));
    const refused = assert.rejects(opening, /UNKNOWN_STREAM: .*closed while it was being opened/);
    await settle();
    const stream = bob.store.get(ksidOf(2).text) as KeyStream;
    await close(stream);
    assert.deepEqual([stream.ended, bob.store.size], [true, 0]);
    await bob.clock.advance(1_250);
    await refused;
  });
});

describe('a call', () => {
  it('that names no peer node is not allowed', async () => {
    const nobody = { metadata: Metadata() } as CallContext;
    for (const call of [
      () => bob.agreement.open(offerOf('app', ALICE, BOB, 1), nobody),
      () =>
        bob.agreement.close(
          { keyStreamId: ksidOf(1).bytes, incarnation: incarnation(1), reason: '' },
          nobody,
        ),
    ])
      await assert.rejects(
        async () => call(),
        (error) => isReason(error, 'NOT_ALLOWED'),
      );
    assert.equal(bob.store.size, 0);
  });
});
