import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ksidOf, termsOf } from '#test/helpers/openings.ts';
import { ALICE, BOB, CAROL, keyStream } from '#test/helpers/streams.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { OpenOffers } from './open-offers.ts';

let clock: FakeClock;
let stale: KeyStream[];
let offers: OpenOffers;

beforeEach(() => {
  clock = new FakeClock();
  stale = [];
  offers = openOffers();
});

const openOffers = (ofPeer = 100, maxStreams = 100) =>
  new OpenOffers({
    clock,
    quotas: { streams: 100, offers: ofPeer, heldBytes: 0 },
    maxStreams,
    onStale: (stream) => {
      stale.push(stream);
    },
  });

interface OfferedBy {
  app?: string;
  peer?: string;
  predefined?: boolean;
  nextHop?: string;
}

/** The `n`-th offer, of the application `app` at the peer. */
const offer = (n: number, { app = 'app', peer = ALICE, predefined = false, ...by }: OfferedBy = {}) =>
  keyStream({
    ...{ id: ksidOf(n).text, terms: termsOf(app, peer, BOB), role: 'responder', predefined },
    route: { nextHop: by.nextHop ?? peer, farNode: peer, hops: 0 },
  });
const wish = (app = 'app', ksid?: string, peer = ALICE) => ({ terms: termsOf(app, peer, BOB), ksid });
const end = (stream: KeyStream) => stream.end(new KeyweaveError('UNKNOWN_STREAM', 'closed'));

describe('OpenOffers', () => {
  it('gives the oldest that fits: of the same pair, and a predefined one only to who names it', () => {
    const [other, named, first, second] = [
      offer(1, { app: 'other' }),
      offer(2, { predefined: true }),
      offer(3),
      offer(4),
    ] as const;
    for (const one of [other, named, first, second]) offers.note(one);
    assert.equal(offers.oldest(wish()), first);
    assert.equal(offers.oldest(wish('other')), other);
    assert.equal(offers.oldest(wish('app', ksidOf(2).text)), named);
    assert.equal(offers.oldest(wish('app', ksidOf(4).text)), second, 'who names it may have any');
    assert.equal(offers.oldest(wish('other', ksidOf(2).text)), undefined);
    assert.equal(offers.oldest(wish('app', undefined, CAROL)), undefined);
    offers.remove(first);
    assert.equal(offers.oldest(wish()), second);
  });

  it('gives none that somebody is joining, or that has ended', () => {
    const [first, second] = [offer(1), offer(2)];
    offers.note(first);
    offers.note(second);
    offers.take(first);
    assert.equal(offers.oldest(wish()), second);
    offers.putBack(first);
    assert.equal(offers.oldest(wish()), first, 'it has kept its place');
    end(first);
    assert.equal(offers.oldest(wish()), second);
  });

  it('drops what has not been repeated for 15 s, unless somebody is joining it', async () => {
    const [left, repeated, taken] = [offer(1), offer(2), offer(3)];
    for (const one of [left, repeated, taken]) offers.note(one);
    offers.take(taken);
    await clock.advance(14_000);
    offers.note(repeated);
    await clock.advance(1_000);
    assert.deepEqual(stale, []);
    await clock.advance(1_000);
    assert.deepEqual(stale, [left]);
    offers.putBack(taken);
    await clock.advance(13_000);
    assert.deepEqual(stale, [left]);
    await clock.advance(1_000);
    assert.deepEqual(stale, [left, repeated]);
    await clock.advance(2_000);
    assert.deepEqual(stale, [left, repeated, taken]);
    assert.equal(offers.oldest(wish()), undefined);
  });

  it('drops what has ended at the next look, and looks no more once stopped', async () => {
    const [ended, left] = [offer(1), offer(2)];
    offers.note(ended);
    offers.note(left);
    end(ended);
    await clock.advance(1_000);
    assert.deepEqual(stale, [ended]);
    offers.stop();
    await clock.advance(60_000);
    assert.deepEqual(stale, [ended]);
  });

  it('looks once a second, however many there are, and not where there is none', async () => {
    assert.equal(clock.pending, 0, 'it looks for nothing');
    for (const n of [1, 2, 3]) offers.note(offer(n));
    for (let second = 1; second <= 3; second++) {
      assert.equal(clock.pending, 1);
      assert.equal(clock.nextDueMs, second * 1_000);
      await clock.advance(1_000);
    }
    await clock.advance(20_000);
    assert.deepEqual([stale.length, clock.pending], [3, 0], 'it goes on when there are none');
  });

  it('knows nothing of a stream that it does not hold', () => {
    offers = openOffers(1);
    const foreign = offer(1);
    offers.assertRoom(ALICE);
    offers.take(foreign);
    offers.putBack(foreign);
    offers.remove(foreign);
    assert.equal(offers.oldest(wish()), undefined);
    offers.note(offer(2));
    offers.take(foreign);
    offers.putBack(foreign);
    offers.remove(foreign);
    assert.throws(() => offers.assertRoom(ALICE), /LIMIT_EXCEEDED/);
  });

  it('has room for as many of a peer as its quota says, counting a repeated one once', () => {
    offers = openOffers(2);
    const [first, second] = [offer(1), offer(2)];
    offers.assertRoom(ALICE);
    offers.note(first);
    offers.note(first);
    offers.assertRoom(ALICE);
    offers.note(second);
    assert.throws(
      () => offers.assertRoom(ALICE),
      (error) =>
        isReason(error, 'LIMIT_EXCEEDED') && /limit of 2 open offers of node aaaaaaaa/.test(`${error}`),
    );
    offers.assertRoom(CAROL);
    offers.remove(first);
    offers.remove(first);
    offers.assertRoom(ALICE);
    offers.note(offer(3));
    end(second);
    offers.assertRoom(ALICE);
    assert.deepEqual(stale, [second]);
  });

  it('counts them for the node through which they come, and finds them by the one that leads them', () => {
    offers = openOffers(2);
    for (const n of [1, 2]) offers.note(offer(n, { app: `app-${n}`, nextHop: CAROL }));
    offers.assertRoom(ALICE);
    assert.throws(() => offers.assertRoom(CAROL), /limit of 2 open offers of node cccccccc/);
    assert.equal(offers.oldest(wish('app-2'))?.id, ksidOf(2).text);
  });

  it('has room for half of the streams of the node, whoever offers them', async () => {
    offers = openOffers(100, 5);
    const first = offer(1);
    offers.note(first);
    offers.note(offer(2));
    offers.assertRoom(CAROL);
    offers.note(offer(3, { peer: CAROL }));
    for (const peer of [ALICE, BOB, CAROL])
      assert.throws(
        () => offers.assertRoom(peer),
        (error) => isReason(error, 'LIMIT_EXCEEDED') && /limit of 3 open offers \(half/.test(`${error}`),
      );
    offers.remove(first);
    offers.note(offer(4));
    assert.throws(() => offers.assertRoom(CAROL), /LIMIT_EXCEEDED/);
    offers.stop();
    await clock.advance(15_001);
    offers.assertRoom(BOB);
    assert.equal(stale.length, 3, 'what nobody repeats keeps another out');
  });
});
