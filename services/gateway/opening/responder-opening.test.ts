import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  APPLICATION,
  BOB,
  CAROL,
  from,
  incarnation,
  ksidOf,
  type Openings,
  offerOf,
  openingsOf,
  QOS,
  settle,
  wishOf,
} from '#test/helpers/openings.ts';
import { LIVING } from '#test/helpers/streams.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamWish } from './stream-wish.ts';

let bob: Openings;

beforeEach(() => {
  bob = openingsOf(BOB, { max_streams: 100 });
});

const open = (request: OpenRequest, peer = ALICE): Promise<OpenResponse> =>
  Promise.resolve(bob.agreement.open(request, from(peer))) as Promise<OpenResponse>;
const join = (change: Partial<StreamWish> = {}) => bob.responder.open(wishOf('app', ALICE, BOB, change));
const nextKey = (stream: KeyStream) =>
  Promise.resolve()
    .then(() => stream.take(undefined, 10_000, () => undefined, LIVING))
    .catch((error: unknown) => error);
const reason =
  (...reasons: Parameters<typeof isReason>[1][]) =>
  (error: unknown) =>
    isReason(error, ...reasons);

/** What a promise came to by now; undefined while it is open. */
function watched<T>(promise: Promise<T>): { value?: T; error?: unknown; atMs?: number } {
  const seen: { value?: T; error?: unknown; atMs?: number } = {};
  promise.then(
    (value) => Object.assign(seen, { value, atMs: bob.clock.monotonicMs() }),
    (error: unknown) => Object.assign(seen, { error, atMs: bob.clock.monotonicMs() }),
  );
  return seen;
}

describe('an offer of a KSID that is open here', () => {
  const offer = (n: number, change: Partial<OpenRequest> = {}) =>
    offerOf('app', ALICE, BOB, 1, { predefined: true, incarnation: incarnation(n), ...change });
  const ksid = ksidOf(1).text;

  it('of another incarnation ends the old stream, in words and at once, and is a new offer', async () => {
    await open(offer(1));
    const old = await join({ ksid });
    old.release(0, Buffer.alloc(32, 7), false);
    const key = await nextKey(old);
    const waiting = [nextKey(old), nextKey(old)];
    const answer = await open(offer(2));
    for (const told of await Promise.all(waiting))
      assert.match(String(told), /the other end has opened this KSID anew; open it again/);
    assert.ok(!(key instanceof Error) && old.ended);
    assert.equal(answer.joined, false, 'the new stream met the old application');
    assert.match(
      String(bob.store.ended.whyOf(ksid, (owner) => owner === APPLICATION)),
      /UNKNOWN_STREAM: .*opened this KSID anew; open it again/,
    );

    const stream = await join({ ksid });
    assert.notEqual(stream, old);
    assert.deepEqual([stream.local, stream.indexes.next], ['joined', 0]);
    assert.deepEqual(stream.incarnation, incarnation(2));
  });

  it('answers those whom max_bps holds back at once, too', async () => {
    const slow = { ...QOS, maxBps: 512 };
    await open(offer(1, { qos: slow }));
    const old = await join({ ksid });
    const waiting = [1, 2, 3, 4].map(() =>
      watched(Promise.resolve(old.take(undefined, 10_000, () => undefined, LIVING))),
    );
    await settle();
    await open(offer(2, { qos: slow }));
    await settle();
    assert.deepEqual(
      waiting.map(({ error }) => isReason(error, 'UNKNOWN_STREAM')),
      [true, true, true, true],
    );
  });

  it('of the old incarnation, come late, does not end the new stream', async () => {
    await open(offer(1));
    await join({ ksid });
    await open(offer(2));
    const stream = await join({ ksid });
    await assert.rejects(open(offer(1)), reason('UNKNOWN_STREAM'));
    assert.equal(stream.ended, false);
    assert.equal(bob.store.get(ksid), stream);
  });

  it('of another peer, or between other URIs, is refused and ends nothing', async () => {
    await open(offer(1));
    const stream = await join({ ksid });
    await assert.rejects(
      open(offerOf('app', CAROL, BOB, 1, { incarnation: incarnation(2) }), CAROL),
      reason('KSID_IN_USE'),
    );
    await assert.rejects(
      open(offerOf('other', ALICE, BOB, 1, { incarnation: incarnation(2) })),
      reason('KSID_IN_USE'),
    );
    assert.equal(stream.ended, false);
  });

  it('must carry an incarnation of 8 bytes', async () => {
    for (const bytes of [0, 7, 9])
      await assert.rejects(open(offer(1, { incarnation: Buffer.alloc(bytes) })), reason('BAD_REQUEST'));
    assert.equal(bob.store.size, 0);
  });

  it('is not made again of one that its initiator has closed', async () => {
    await open(offer(1));
    await bob.agreement.close(
      { keyStreamId: ksidOf(1).bytes, incarnation: incarnation(1), reason: '' },
      from(ALICE),
    );
    await assert.rejects(open(offer(1)), reason('UNKNOWN_STREAM'));
    assert.equal(bob.store.size, 0);
    await open(offer(2));
  });
});

describe('a repeated offer', () => {
  it('changes nothing, and is refused by name where it differs', async () => {
    await open(offerOf('app', ALICE, BOB, 1));
    const stream = await join();
    const { qos, terms } = stream;
    const { slots } = terms;
    const differences: [string, Partial<OpenRequest>][] = [
      ['method', { method: 'xoring' }],
      ['list of sources', { slots: [slots[0], slots[0], slots[1]] as OpenRequest['slots'] }],
      ['list of sources', { slots: slots.toReversed() }],
      ['value of predefined', { predefined: true }],
      ['QoS', { qos: { ...QOS, keyChunkSize: 64 } }],
      ['QoS', { qos: { ...QOS, timeoutMs: 20_000 } }],
      ['QoS', { qos: { ...QOS, ttlS: 9 } }],
      ['QoS', { qos: undefined }],
    ];
    for (const [what, change] of differences) {
      await assert.rejects(open(offerOf('app', ALICE, BOB, 1, change)), (error: Error) => {
        assert.match(error.message, new RegExp(`AGREEMENT_FAILED: .* repeated with another ${what}$`));
        return true;
      });
    }
    const again = await open(offerOf('app', ALICE, BOB, 1));
    assert.deepEqual([again.joined, again.qos], [true, qos]);
    assert.deepEqual([stream.qos, stream.terms], [qos, terms]);
  });
});

describe('open offers', () => {
  it('that nobody repeats go by themselves, also from a full registry', async () => {
    bob = openingsOf(BOB, { max_streams: 10, max_open_offers_per_peer: 5 });
    for (let n = 0; n < 5; n++) await open(offerOf(`app-${n}`, ALICE, BOB, n));
    await bob.clock.advance(14_000);
    assert.equal(bob.store.size, 5);
    await open(offerOf('app-4', ALICE, BOB, 4));
    await bob.clock.advance(4_000);
    assert.deepEqual(
      [...bob.store.all()].map(({ id }) => id),
      [ksidOf(4).text],
    );
    await bob.clock.advance(15_000);
    assert.equal(bob.store.size, 0);
  });

  it('that are stale make room for a new one at once, though nobody has looked after them', async () => {
    bob = openingsOf(BOB, { max_streams: 10, max_open_offers_per_peer: 5 });
    for (let n = 0; n < 5; n++) await open(offerOf(`app-${n}`, ALICE, BOB, n));
    bob.responder.stop();
    await bob.clock.advance(15_001);
    await open(offerOf('app', ALICE, BOB, 5));
    assert.equal(bob.store.size, 1);
  });

  it('of one peer have a limit, named, that leaves room for other peers and for own applications', async () => {
    bob = openingsOf(BOB, { max_streams: 20 }, 2);
    const flood = [];
    for (let n = 0; n < 30; n++)
      flood.push(await open(offerOf(`app-${n}`, ALICE, BOB, n)).catch((e: Error) => e));
    assert.equal(bob.store.size, 5, 'half of the peer’s even part of 20');
    assert.match(
      String(flood[5]),
      /LIMIT_EXCEEDED: .* limit of 5 open offers of node aaaaaaaa.*max_open_offers_per_peer/,
    );
    await open(offerOf('app', CAROL, BOB, 100), CAROL);
    await join({ terms: wishOf('app-0', ALICE, BOB).terms });
    await open(offerOf('app-6', ALICE, BOB, 6));
    for (let n = 0; n < 4; n++) {
      await bob.initiator.open(wishOf(`out-${n}`, BOB, ALICE));
    }
  });

  it('of all peers together leave half of the streams to own applications, whatever the quotas say', async () => {
    bob = openingsOf(BOB, { max_streams: 10, max_streams_per_peer: 100, max_open_offers_per_peer: 100 }, 2);
    for (let n = 0; n < 3; n++) await open(offerOf(`app-${n}`, ALICE, BOB, n));
    for (let n = 3; n < 5; n++) await open(offerOf(`app-${n}`, CAROL, BOB, n), CAROL);
    await assert.rejects(
      open(offerOf('app-5', ALICE, BOB, 5)),
      /limit of 5 open offers \(half of limits.max_streams\)/,
    );
  });

  it('are joined oldest first, a predefined one by its KSID only', async () => {
    await open(offerOf('app', ALICE, BOB, 1, { predefined: true }));
    await open(offerOf('app', ALICE, BOB, 2));
    await open(offerOf('app', ALICE, BOB, 3));
    const joined = [await join(), await join(), await join({ ksid: ksidOf(1).text })];
    assert.deepEqual(
      joined.map(({ id }) => id),
      [2, 3, 1].map((n) => ksidOf(n).text),
    );
  });
});

describe('joining an offer', () => {
  const silent = (_request: unknown, timeoutMs = 0) =>
    new Promise<never>((_resolve, reject) =>
      bob.clock.after(timeoutMs, () => reject(new KeyweaveError('PEER_UNREACHABLE', 'silent'))),
    );

  it('of an initiator that is silent ends with the caller’s time, whatever the number of offers', async () => {
    for (let n = 0; n < 5; n++) await open(offerOf('app', ALICE, BOB, n));
    const alice = bob.peerOf(ALICE);
    alice.script.join = silent;
    const seen = watched(join({ timeoutMs: 1_000 }));
    await bob.clock.advance(5_000);
    assert.ok(isReason(seen.error, 'TIMEOUT'), String(seen.error));
    assert.equal(seen.atMs, 1_000);
    assert.deepEqual(
      alice.calls.filter(({ call }) => call === 'join').map(({ timeoutMs }) => timeoutMs),
      [1_000],
    );
    assert.equal(bob.store.size, 5, 'an offer is gone with its caller');
  });

  it('of an initiator that cannot be reached is tried once a second for all callers together', async () => {
    for (let n = 0; n < 5; n++) await open(offerOf('app', ALICE, BOB, n));
    const alice = bob.peerOf(ALICE);
    alice.script.join = async () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'no route'));
    const callers = Array.from({ length: 20 }, () => watched(join({ timeoutMs: 5_000 })));
    await bob.clock.advance(4_000);
    assert.ok(alice.count('join') <= 5 + 4 * 5, `${alice.count('join')} attempts`);
    await bob.clock.advance(2_000);
    for (const { error, atMs = 0 } of callers) {
      assert.ok(isReason(error, 'TIMEOUT'));
      // Time goes on here by 250 ms at a time, and a wait never ends too early.
      assert.ok(atMs >= 5_000 && atMs <= 5_250, `answered after ${atMs} ms`);
    }
  });

  it('succeeds at once when the initiator is back and repeats its offer', async () => {
    await open(offerOf('app', ALICE, BOB, 1));
    bob.peerOf(ALICE).script.join = async () =>
      Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'no route'));
    const seen = watched(join());
    await settle();
    assert.ok(seen.atMs === undefined, 'it gave up');
    assert.equal((await open(offerOf('app', ALICE, BOB, 1))).joined, true);
    await settle();
    assert.equal(seen.value?.id, ksidOf(1).text);
  });

  it('is not put off by an earlier failure once the initiator has repeated its offer', async () => {
    await open(offerOf('app', ALICE, BOB, 1));
    const alice = bob.peerOf(ALICE);
    alice.script.join = async () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'no route'));
    const first = watched(join({ timeoutMs: 250 }));
    await bob.clock.advance(500);
    assert.ok(isReason(first.error, 'TIMEOUT'));
    alice.script.join = async () => ({ accepted: true });
    await open(offerOf('app', ALICE, BOB, 1));
    const second = watched(join());
    await settle();
    assert.equal(second.value?.id, ksidOf(1).text);
  });

  it('that was given up late leaves the offer as if it had just been repeated', async () => {
    await open(offerOf('app', ALICE, BOB, 1));
    await bob.clock.advance(13_000);
    const gone = new AbortController();
    const answer = Promise.withResolvers<{ accepted: boolean }>();
    bob.peerOf(ALICE).script.join = () => answer.promise;
    watched(join({ signal: gone.signal }));
    await settle();
    gone.abort();
    answer.resolve({ accepted: true });
    await bob.clock.advance(10_000);
    bob.peerOf(ALICE).script.join = async () => ({ accepted: true });
    const next = watched(join());
    await settle();
    assert.equal(next.value?.id, ksidOf(1).text);
  });

  it('whose answer was lost succeeds with the next attempt', async () => {
    await open(offerOf('app', ALICE, BOB, 1));
    let attempts = 0;
    bob.peerOf(ALICE).script.join = async () => {
      attempts += 1;
      if (attempts === 1) throw new KeyweaveError('PEER_UNREACHABLE', 'cut off');
      return { accepted: true };
    };
    const seen = watched(join());
    await bob.clock.advance(1_500);
    assert.equal(seen.value?.id, ksidOf(1).text);
  });

  it('goes on with the next offer where the initiator no longer waits', async () => {
    for (let n = 0; n < 3; n++) await open(offerOf('app', ALICE, BOB, n));
    let attempts = 0;
    bob.peerOf(ALICE).script.join = async () => {
      attempts += 1;
      if (attempts === 1) return { accepted: false };
      if (attempts === 2) throw new KeyweaveError('UNKNOWN_STREAM', 'this node knows no such stream');
      return { accepted: true };
    };
    assert.equal((await join()).id, ksidOf(2).text);
    assert.equal(bob.store.size, 1, 'what its initiator does not know stays');
  });

  for (const when of ['accepts', 'is silent'] as const) {
    it(`ends when the application goes away; the offer is the next one’s, where the initiator ${when} later`, async () => {
      await open(offerOf('app', ALICE, BOB, 1));
      const gone = new AbortController();
      const answer = Promise.withResolvers<{ accepted: boolean }>();
      const alice = bob.peerOf(ALICE);
      alice.script.join = () => answer.promise;
      const first = watched(join({ signal: gone.signal }));
      const second = watched(join());
      await settle();
      gone.abort();
      await settle();
      assert.ok(isReason(first.error, 'TIMEOUT'), 'it went on for nobody');
      alice.script.join = async () => ({ accepted: true });
      if (when === 'accepts') answer.resolve({ accepted: true });
      else answer.reject(new KeyweaveError('TIMEOUT', 'silent'));
      await bob.clock.advance(1_500);
      assert.equal(second.value?.id, ksidOf(1).text, 'the offer went with the application that has gone');
      assert.equal(second.value?.local, 'joined');
    });
  }

  it('that nobody was there for any more is undone when nobody else comes', async () => {
    await open(offerOf('app', ALICE, BOB, 1));
    const gone = new AbortController();
    const answer = Promise.withResolvers<{ accepted: boolean }>();
    const alice = bob.peerOf(ALICE);
    alice.script.join = () => answer.promise;
    watched(join({ signal: gone.signal }));
    await settle();
    gone.abort();
    answer.resolve({ accepted: true });
    await bob.clock.advance(20_000);
    assert.equal(bob.store.size, 0);
    const closed = alice.calls.filter(({ call }) => call === 'close').map(({ request }) => request);
    assert.deepEqual(closed, [
      { keyStreamId: ksidOf(1).bytes, incarnation: incarnation(1), reason: 'nobody has joined' },
    ]);
  });
});
