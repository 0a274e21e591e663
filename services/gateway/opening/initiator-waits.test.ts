import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  APPLICATION,
  BOB,
  from,
  idleInitiator,
  ksidOf,
  type Openings,
  offerOf,
  opened,
  openingsOf,
  settle,
  wishOf,
} from '#test/helpers/openings.ts';
import { LIVING } from '#test/helpers/streams.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { standInFor } from '../streams/stream-terms.ts';
import type { StreamWish } from './stream-wish.ts';

const KSID = ksidOf(1).text;

let alice: Openings;
let answer: () => Promise<OpenResponse>;

beforeEach(() => {
  alice = openingsOf(ALICE);
  answer = async () => opened({ joined: false });
  alice.peerOf(BOB).script.open = () => answer();
});

const open = (change: Partial<StreamWish> = {}) =>
  alice.initiator.open(wishOf('app', ALICE, BOB, { ksid: KSID, ...change }));
const offers = () => alice.peerOf(BOB).calls.filter(({ call }) => call === 'open');
const fails = (reason: Parameters<typeof isReason>[1]) => async () =>
  Promise.reject(new KeyweaveError(reason, 'as the test says'));
const join = async ({ idBytes, incarnation }: KeyStream) =>
  (await alice.agreement.join({ keyStreamId: idBytes, incarnation }, from(BOB))).accepted;

/** An OPEN_CONNECT under way: what became of it, and the stream. */
function opening(change: Partial<StreamWish> = {}) {
  const seen: { stream: KeyStream; opened?: KeyStream; error?: unknown; atMs?: number } = {
    stream: undefined as never,
  };
  open(change).then(
    (stream) => Object.assign(seen, { opened: stream, atMs: alice.clock.monotonicMs() }),
    (error: unknown) => Object.assign(seen, { error, atMs: alice.clock.monotonicMs() }),
  );
  seen.stream = alice.store.get(KSID) as KeyStream;
  return seen;
}

describe('an initiator that waits', () => {
  it('offers once a second until the other application joins, and is open then', async () => {
    const seen = opening();
    await alice.clock.advance(3_000);
    assert.ok(offers().length >= 3 && offers().length <= 4, `${offers().length} offers`);
    assert.equal(seen.atMs, undefined);
    assert.equal(await join(seen.stream), true);
    await settle();
    assert.equal(seen.opened, seen.stream);
    assert.deepEqual([seen.stream.local, seen.stream.peer], ['joined', 'joined']);
    const before = offers().length;
    await alice.clock.advance(20_000);
    assert.equal(offers().length, before, 'it goes on offering what is open');
  });

  it('gives up when its time is over, and withdraws the offer', async () => {
    const seen = opening();
    await alice.clock.advance(9_750);
    assert.equal(seen.atMs, undefined);
    await alice.clock.advance(500);
    assert.ok(isReason(seen.error, 'TIMEOUT'), `${seen.error}`);
    assert.match(String(seen.error), /the peer application did not open the stream/);
    assert.equal(alice.store.size, 0);
    assert.throws(
      () => seen.stream.take(undefined, 1_000, () => undefined, LIVING),
      (error) => isReason(error, 'UNKNOWN_STREAM'),
    );
    const closed = alice.peerOf(BOB).calls.filter(({ call }) => call === 'close');
    assert.deepEqual(
      closed.map(({ request }) => request),
      [{ keyStreamId: seen.stream.idBytes, incarnation: seen.stream.incarnation, reason: 'withdrawn' }],
    );
  });

  it('does not mind whether the peer hears of the withdrawal', async () => {
    answer = fails('UNSUPPORTED');
    alice.peerOf(BOB).script.close = fails('PEER_UNREACHABLE');
    await assert.rejects(open(), (error) => isReason(error, 'UNSUPPORTED'));
    await settle();
  });

  it('waits for no answer longer than its time', async () => {
    opening({ timeoutMs: 1_500 });
    await alice.clock.advance(1_250);
    assert.deepEqual(
      offers().map(({ timeoutMs }) => timeoutMs),
      [1_500, 499],
    );
  });

  for (const reason of ['PEER_UNREACHABLE', 'SERVICE_UNAVAILABLE', 'TIMEOUT', 'SHUTTING_DOWN'] as const) {
    it(`tries again soon where the peer node is not there (${reason}), and opens when it is back`, async () => {
      answer = fails(reason);
      const seen = opening();
      await alice.clock.advance(1_000);
      assert.ok(offers().length >= 4, `${offers().length} offers in a second`);
      assert.equal(seen.atMs, undefined);
      answer = async () => opened();
      await alice.clock.advance(250);
      assert.equal(seen.opened, seen.stream);
    });
  }

  it('says that the peer node did not answer, and why, where it was the last to fail', async () => {
    answer = fails('SERVICE_UNAVAILABLE');
    const seen = opening({ timeoutMs: 1_000 });
    await alice.clock.advance(1_500);
    assert.ok(isReason(seen.error, 'PEER_UNREACHABLE'), `${seen.error}`);
    assert.match(String(seen.error), /as the test says/);
  });

  it('says that the application did not come where the peer node has answered since', async () => {
    answer = fails('SERVICE_UNAVAILABLE');
    const seen = opening({ timeoutMs: 2_000 });
    await alice.clock.advance(500);
    answer = async () => opened({ joined: false });
    await alice.clock.advance(2_000);
    assert.ok(isReason(seen.error, 'TIMEOUT'), `${seen.error}`);
  });

  it('does not take a node that fails now for one that is there, whatever it said before', async () => {
    const seen = opening({ timeoutMs: 3_000 });
    await settle();
    answer = fails('PEER_UNREACHABLE');
    await alice.clock.advance(2_000);
    assert.equal(seen.atMs, undefined);
    await alice.clock.advance(1_250);
    assert.ok(isReason(seen.error, 'PEER_UNREACHABLE'), `${seen.error}`);
  });

  it('gives up at once on any other failure', async () => {
    answer = fails('UNSUPPORTED');
    const seen = opening();
    await settle();
    assert.ok(isReason(seen.error, 'UNSUPPORTED'), `${seen.error}`);
    assert.equal(offers().length, 1);
  });

  it('gives up at once when the stream ends meanwhile, or its application goes away', async () => {
    const gone = new AbortController();
    const seen = opening({ signal: gone.signal });
    await settle();
    gone.abort();
    await settle();
    assert.ok(isReason(seen.error, 'TIMEOUT'), `${seen.error}`);
    assert.match(String(seen.error), /has gone away/);
    const other = opening();
    await settle();
    other.stream.end(new KeyweaveError('UNKNOWN_STREAM', 'closed'));
    await alice.clock.advance(1_250);
    assert.match(String(other.error), /UNKNOWN_STREAM: .*closed while it was being opened/);
  });

  it('says when the opening is over, however it ends', async () => {
    for (const last of [async () => opened(), fails('UNSUPPORTED')]) {
      const pending = Promise.withResolvers<OpenResponse>();
      answer = () => pending.promise;
      const { stream } = opening();
      let over = 0;
      alice.initiator.over(stream)?.then(() => {
        over += 1;
      });
      await settle();
      assert.equal(over, 0);
      last().then(pending.resolve, pending.reject);
      await settle();
      assert.equal(over, 1);
      assert.equal(alice.initiator.over(stream), undefined);
      alice.ends.withdraw(stream);
    }
  });
});

describe('an initiator whose node is enough', () => {
  const node = { presence: 'node' } as const;

  it('is open once the node has answered, and goes on offering until the application comes', async () => {
    const seen = opening(node);
    await settle();
    assert.equal(seen.opened, seen.stream);
    assert.deepEqual([seen.stream.local, seen.stream.peer], ['joined', 'absent']);
    await alice.clock.advance(10_000);
    assert.equal(offers().length, 3, 'every 5 s');
    assert.deepEqual(
      offers().map(({ timeoutMs }) => timeoutMs),
      [10_000, undefined, undefined],
      'the application no longer waits',
    );
    answer = fails('PEER_UNREACHABLE');
    await alice.clock.advance(5_000);
    answer = async () => opened();
    await alice.clock.advance(5_000);
    assert.equal(seen.stream.peer, 'joined');
    await alice.clock.advance(20_000);
    assert.equal(offers().length, 5, 'it goes on offering what is joined');
  });

  it('is not open while the node does not answer', async () => {
    answer = fails('PEER_UNREACHABLE');
    const seen = opening(node);
    await alice.clock.advance(500);
    assert.equal(seen.atMs, undefined);
    answer = async () => opened({ joined: false });
    await alice.clock.advance(250);
    assert.equal(seen.opened, seen.stream);
  });

  it('offers no more once the stream has ended', async () => {
    const seen = opening(node);
    await settle();
    seen.stream.end(new KeyweaveError('UNKNOWN_STREAM', 'closed'));
    await alice.clock.advance(20_000);
    assert.equal(offers().length, 1);
  });

  it('has its production look at what is lacking when the application joins', async () => {
    const { stream } = opening(node);
    await settle();
    const { wanted } = idleInitiator(stream);
    assert.deepEqual(wanted, []);
    assert.equal(await join(stream), true);
    assert.deepEqual([stream.peer, wanted], ['joined', [0]]);
  });
});

describe('Join', () => {
  it('is not accepted for a stream that has ended, has no application here, or is led by the other end', async () => {
    const { stream } = opening({ presence: 'node' });
    await settle();
    stream.leave();
    assert.equal(await join(stream), false);
    stream.join(APPLICATION);
    stream.end(new KeyweaveError('UNKNOWN_STREAM', 'closed'));
    assert.equal(await join(stream), false);
    const offer = offerOf('app', BOB, ALICE, 3);
    await alice.agreement.open(offer, from(BOB));
    const led = alice.store.get(ksidOf(3).text) as KeyStream;
    led.awaitPeer();
    assert.equal(await join(led), false);
    assert.equal(led.peer, 'absent');
  });
});

describe('a stand-in', () => {
  it('is allowed for a stream only where both ends allow it', async () => {
    answer = async () => opened({ allowDegraded: true });
    assert.equal((await open()).leeway.standIn, false);
    alice.allowStandIn(BOB);
    assert.equal((await open({ ksid: ksidOf(2).text })).leeway.standIn, true);
    answer = async () => opened({ allowDegraded: false });
    assert.equal((await open({ ksid: ksidOf(3).text })).leeway.standIn, false);
    assert.deepEqual(
      offers().map(({ request }) => (request as OpenRequest).allowDegraded),
      [false, true, true],
    );
  });

  it('that is a source of the stream needs the other end’s consent', async () => {
    alice.allowStandIn(BOB);
    const { terms } = wishOf('app', ALICE, BOB);
    const [only] = terms.slots;
    assert.ok(only);
    const standsIn = { terms: { ...terms, slots: [only, standInFor(only)] } };
    answer = async () => opened();
    await assert.rejects(
      open(standsIn),
      (error) =>
        isReason(error, 'UNSUPPORTED') && /node bbbbbbbb.* lets no shared_seed stand in/.test(`${error}`),
    );
    answer = async () => opened({ allowDegraded: true });
    assert.equal((await open(standsIn)).local, 'joined');
  });
});
