import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PROTOCOL_VERSION, VERSION } from '#common/service/version.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
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
  termsOf,
  wishOf,
} from '#test/helpers/openings.ts';
import { LIVING } from '#test/helpers/streams.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamWish } from './stream-wish.ts';

let bob: Openings;

beforeEach(() => {
  bob = openingsOf(BOB, { max_streams: 100 });
});

const open = async (change: Partial<OpenRequest> = {}, n = 1, peer = ALICE, app = 'app') =>
  (await bob.agreement.open(offerOf(app, peer, BOB, n, change), from(peer))) as OpenResponse;
const refuse = (change: Partial<OpenRequest> = {}, peer = ALICE) =>
  assert.rejects(open({ protocolVersion: 0, ...change }, 1, peer));

/** An application's OPEN_CONNECT, and what it came to by now. */
function joining(change: Partial<StreamWish> = {}, app = 'app', peer = ALICE) {
  const seen: { stream?: KeyStream; error?: unknown; atMs?: number } = {};
  bob.responder.open(wishOf(app, peer, BOB, change)).then(
    (stream) => Object.assign(seen, { stream, atMs: bob.clock.monotonicMs() }),
    (error: unknown) => Object.assign(seen, { error, atMs: bob.clock.monotonicMs() }),
  );
  return seen;
}

const noRoute = async () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'no route'));
const heldOf = (n: number) => bob.store.get(ksidOf(n).text) as KeyStream;

describe('the answer to an offer', () => {
  it('says what this end can meet, and whether its application has come', async () => {
    const qos = { ...QOS, keyChunkSize: 100_000 };
    const waiting = await open({ qos }, 1);
    assert.deepEqual(waiting, {
      ...{ joined: false, allowDegraded: false, qos: { ...qos, keyChunkSize: 12_240, ttlS: 86_400 } },
      ...{ softwareVersion: VERSION, protocolVersion: PROTOCOL_VERSION },
    });
    const seen = joining();
    await settle();
    assert.equal(seen.stream, heldOf(1));
    assert.deepEqual([heldOf(1).local, heldOf(1).peer], ['joined', 'joined']);
    assert.equal((await open({ qos }, 1)).joined, true);
  });

  it('lets a shared_seed stand in only where both ends allow it', async () => {
    assert.equal((await open({ allowDegraded: true }, 1)).allowDegraded, false);
    bob.allowStandIn(ALICE);
    assert.equal((await open({ allowDegraded: true }, 2)).allowDegraded, true);
    assert.equal((await open({ allowDegraded: false }, 3)).allowDegraded, false);
    assert.deepEqual(
      [1, 2, 3].map((n) => heldOf(n).leeway.standIn),
      [false, true, false],
    );
    assert.equal(bob.factory.mayDegrade(ALICE), true);
  });

  it('is no stream where it carries no QoS', async () => {
    await assert.rejects(open({ qos: undefined }), (error) => isReason(error, 'BAD_REQUEST'));
    assert.equal(bob.store.size, 0);
  });
});

describe('an application that waits for an offer', () => {
  it('gets it at once, first come first served', async () => {
    const [first, second] = [joining(), joining()];
    const other = joining({}, 'other');
    await settle();
    assert.equal((await open({}, 1)).joined, true);
    assert.equal((await open({}, 2)).joined, true);
    await settle();
    assert.deepEqual(
      [first, second].map(({ stream }) => stream?.id),
      [ksidOf(1).text, ksidOf(2).text],
    );
    assert.deepEqual([heldOf(1).local, heldOf(1).peer], ['joined', 'joined']);
    assert.equal((await open({}, 3)).joined, false, 'nobody waits any more');
    assert.equal(other.atMs, undefined);
    await bob.clock.advance(16_000);
    assert.deepEqual(
      [1, 2, 3].map((n) => heldOf(n)?.ended),
      [false, false, undefined],
      'a joined one is stale',
    );
  });

  it('is one for each of the offers that come at the same moment, and of the refusals', async () => {
    const seen = [joining(), joining(), joining(), joining()];
    await settle();
    const offers = [1, 2].map((n) => bob.responder.offered(offerOf('app', ALICE, BOB, n), ALICE));
    const refused = [3, 4].map((n) => {
      const offer = offerOf('app', ALICE, BOB, n, { protocolVersion: 0 });
      return bob.responder.offered(offer, ALICE).catch((error: unknown) => error);
    });
    await Promise.all(offers);
    const whys = await Promise.all(refused);
    await settle();
    assert.deepEqual(
      new Set(seen.map(({ stream, error }) => stream?.id ?? error)),
      new Set([ksidOf(1).text, ksidOf(2).text, ...whys]),
    );
    assert.equal(new Set(whys).size, 2);
  });

  it('is told when its time is over, at its end and not before', async () => {
    const seen = joining({ timeoutMs: 2_000 });
    await bob.clock.advance(1_750);
    assert.equal(seen.atMs, undefined);
    await bob.clock.advance(500);
    assert.ok(isReason(seen.error, 'TIMEOUT'), `${seen.error}`);
    assert.match(String(seen.error), /The client peer did not start the session/);
    assert.equal((await open()).joined, false, 'it was given to who has gone');
  });

  it('that has gone away gets nothing', async () => {
    const gone = new AbortController();
    const seen = joining({ signal: gone.signal });
    await settle();
    gone.abort();
    assert.equal((await open()).joined, false);
    await settle();
    assert.match(String(seen.error), /TIMEOUT: the application has gone away/);
    assert.match(String(await settledOf(joining({ signal: gone.signal }))), /has gone away/);
    assert.equal(bob.peerOf(ALICE).count('join'), 0);
  });

  it('gets a predefined one only where it names it', async () => {
    const [any, named] = [joining(), joining({ ksid: ksidOf(1).text })];
    await settle();
    await open({ predefined: true }, 1);
    await settle();
    assert.deepEqual([any.stream, named.stream?.id], [undefined, ksidOf(1).text]);
  });

  it('under a KSID keeps the offers of other pairs from it', async () => {
    const seen = joining({ ksid: ksidOf(1).text });
    await settle();
    for (const uris of [
      { source: termsOf('other', ALICE, BOB).source },
      { destination: termsOf('other', ALICE, BOB).destination },
    ])
      await assert.rejects(open({ predefined: true, ...uris }, 1), (error) => isReason(error, 'KSID_IN_USE'));
    await open({ destination: termsOf('other', ALICE, BOB).destination }, 2);
    assert.equal(seen.atMs, undefined);
    assert.equal((await open({ predefined: true }, 1)).joined, true);
  });
});

async function settledOf(seen: { stream?: KeyStream; error?: unknown }): Promise<unknown> {
  await settle();
  return seen.stream ?? seen.error;
}

describe('a KSID that an application names', () => {
  it('is refused where it belongs to another pair, or is open at this end, with what to do', async () => {
    await open({ predefined: true }, 1);
    const ksid = ksidOf(1).text;
    assert.match(
      String(await settledOf(joining({ ksid }, 'other'))),
      /KSID_IN_USE: .* belongs to another source and destination/,
    );
    assert.equal(((await settledOf(joining({ ksid }))) as KeyStream).id, ksid);
    assert.match(String(await settledOf(joining({ ksid }))), /KSID_IN_USE: .* close it first/);
  });

  it('that this node leads is no peer’s to offer', async () => {
    bob.peerOf(ALICE).script.open = () => new Promise(() => undefined);
    bob.initiator.open(wishOf('app', BOB, ALICE, { ksid: ksidOf(1).text })).catch(() => undefined);
    await settle();
    const led = heldOf(1);
    await assert.rejects(
      open({ predefined: true }, 1),
      (error) => isReason(error, 'KSID_IN_USE') && /in use at the other node/.test(`${error}`),
    );
    assert.equal(led.ended, false);
  });
});

describe('an offer that was refused', () => {
  it('is told to one application that waits for it, or else to the next that comes', async () => {
    const [first, second] = [joining(), joining()];
    const others = [joining({}, 'other'), joining({ ksid: ksidOf(9).text }), joining({}, 'app', CAROL)];
    await settle();
    await refuse();
    await settle();
    assert.ok(isReason(first.error, 'REVISION_MISMATCH'), `${first.error}`);
    assert.equal(second.atMs, undefined);
    await refuse();
    await refuse();
    await settle();
    assert.ok(isReason(second.error, 'REVISION_MISMATCH'), `${second.error}`);
    assert.ok(isReason(await settledOf(joining()), 'REVISION_MISMATCH'));
    assert.equal(await settledOf(joining()), undefined, 'it is told once');
    for (const { atMs } of others) assert.equal(atMs, undefined);
  });

  it('must name a KSID', () =>
    assert.rejects(
      open({ protocolVersion: 0, keyStreamId: Buffer.alloc(15) }),
      (error) => isReason(error, 'BAD_REQUEST') && String(error).includes('key_stream_id'),
    ));

  it('of a peer that speaks for another node is told to nobody', async () => {
    const seen = joining({}, 'app', CAROL);
    await settle();
    await refuse({ source: termsOf('app', CAROL, BOB).source });
    await settle();
    assert.equal(seen.atMs, undefined);
    assert.equal(await settledOf(joining({}, 'app', CAROL)), undefined);
  });

  it('is forgotten once the peer offers what can be taken', async () => {
    await refuse();
    await open({}, 2);
    assert.equal(((await settledOf(joining())) as KeyStream).id, ksidOf(2).text);
    assert.equal(await settledOf(joining()), undefined);
  });

  it('does not keep an application from an offer that is open', async () => {
    await open({}, 2);
    await refuse();
    assert.equal(((await settledOf(joining())) as KeyStream).id, ksidOf(2).text);
  });
});

describe('an attempt to join', () => {
  it('waits no longer than the application does', async () => {
    await open();
    bob.peerOf(ALICE).script.join = noRoute;
    joining({ timeoutMs: 2_000 });
    await settle();
    joining({ timeoutMs: 2_000 });
    const calls = bob.peerOf(ALICE).calls.filter(({ call }) => call === 'join');
    assert.deepEqual(
      calls.map(({ request, timeoutMs }) => [request, timeoutMs]),
      [[{ keyStreamId: ksidOf(1).bytes, incarnation: incarnation(1) }, 2_000]],
    );
  });

  it('leaves the peer alone for a second after it could not be reached, and other peers not', async () => {
    const [alice, carol] = [bob.peerOf(ALICE), bob.peerOf(CAROL)];
    alice.script.join = noRoute;
    await open();
    await open({}, 2, CAROL);
    const seen = joining();
    await bob.clock.advance(750);
    assert.equal(alice.count('join'), 1);
    assert.equal(((await settledOf(joining({}, 'app', CAROL))) as KeyStream).id, ksidOf(2).text);
    assert.equal(carol.count('join'), 1);
    alice.script.join = async () => ({ accepted: true });
    await bob.clock.advance(500);
    assert.equal(seen.stream?.id, ksidOf(1).text);
  });

  it('that comes back too late for its application leaves the offer to one that already waits', async () => {
    await open();
    const answer = Promise.withResolvers<{ accepted: boolean }>();
    bob.peerOf(ALICE).script.join = () => answer.promise;
    const first = joining({ timeoutMs: 1_000 });
    await settle();
    const second = joining();
    await bob.clock.advance(1_500);
    assert.ok(isReason(first.error, 'TIMEOUT'));
    assert.equal(heldOf(1).local, 'waiting', 'it is given away while it is being joined');
    answer.resolve({ accepted: true });
    await settle();
    assert.equal(second.stream?.id, ksidOf(1).text);
    assert.deepEqual([second.stream?.local, second.stream?.peer], ['joined', 'joined']);
    assert.equal((await open()).joined, true);
  });

  it('of an offer that ends meanwhile gives it to nobody, and goes on with the next one', async () => {
    await open({}, 1);
    const answer = Promise.withResolvers<{ accepted: boolean }>();
    bob.peerOf(ALICE).script.join = () => answer.promise;
    const first = joining();
    await settle();
    const second = joining();
    const ended = heldOf(1);
    await bob.agreement.close(
      { keyStreamId: ksidOf(1).bytes, incarnation: incarnation(1), reason: '' },
      from(ALICE),
    );
    answer.resolve({ accepted: true });
    await settle();
    assert.deepEqual([ended.ended, first.atMs, second.atMs], [true, undefined, undefined]);
    await open({}, 2);
    await open({}, 3);
    await settle();
    assert.deepEqual(
      [first, second].map(({ stream }) => stream?.id).sort(),
      [2, 3].map((n) => ksidOf(n).text),
    );
  });

  it('of what its initiator no longer knows ends the offer, of which nobody need be told', async () => {
    bob = openingsOf(BOB, { max_open_offers_per_peer: 1 });
    await open();
    bob.peerOf(ALICE).script.join = async () => ({ accepted: false });
    const offer = heldOf(1);
    const seen = joining();
    await settle();
    assert.deepEqual([offer.ended, bob.store.size, seen.atMs], [true, 0, undefined]);
    assert.throws(
      () => offer.take(undefined, 1_000, () => undefined, LIVING),
      (error) => isReason(error, 'UNKNOWN_STREAM'),
    );
    assert.equal(bob.peerOf(ALICE).count('close'), 0);
    assert.equal((await open({}, 2)).joined, true, 'it has kept its place');
  });
});

describe('offers that nobody joins', () => {
  it('stay once the node stops looking after them', async () => {
    await open();
    bob.responder.stop();
    await bob.clock.advance(60_000);
    assert.equal(bob.store.size, 1);
  });

  it('end in peace, though their peer has gone', async () => {
    bob.peerOf(ALICE).script.close = noRoute;
    await open();
    heldOf(1).peerJoined();
    await bob.clock.advance(17_000);
    assert.equal(bob.store.size, 0);
    assert.equal(bob.peerOf(ALICE).count('close'), 1);
  });
});
