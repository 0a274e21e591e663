import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PROTOCOL_VERSION, VERSION } from '#common/service/version.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  BOB,
  CAROL,
  from,
  idleInitiator,
  ksidOf,
  type Openings,
  opened,
  openingsOf,
  QOS,
  settle,
  termsOf,
  wishOf,
} from '#test/helpers/openings.ts';
import type { StreamWish } from './stream-wish.ts';

let alice: Openings;
let answer: (request: OpenRequest) => Promise<OpenResponse>;

beforeEach(() => {
  alice = openingsOf(ALICE);
  answer = async () => opened();
  alice.peerOf(BOB).script.open = (request) => answer(request);
});

const open = (change: Partial<StreamWish> = {}) =>
  alice.initiator.open(wishOf('app', ALICE, BOB, { ksid: ksidOf(1).text, ...change }));
const offers = () =>
  alice
    .peerOf(BOB)
    .calls.filter(({ call }) => call === 'open')
    .map(({ request }) => request as OpenRequest);

describe('the initiator', () => {
  it('draws an incarnation for each stream, also of the same KSID, and repeats the same offer', async () => {
    answer = async () => opened({ joined: offers().length > 2 });
    const first = open();
    await alice.clock.advance(3_000);
    const stream = await first;
    assert.equal(offers().length, 3);
    for (const offer of offers()) assert.deepEqual(offer, offers()[0]);
    await alice.ends.close(stream, 'as the test says');
    const second = await open();
    assert.equal(stream.incarnation.length, 8);
    assert.notDeepEqual(second.incarnation, stream.incarnation);
    assert.deepEqual(offers().at(-1)?.incarnation, second.incarnation);
  });

  it('takes from an answer only what is less than it asked', async () => {
    const asked: Qos = {
      ...{ keyChunkSize: 64, maxBps: 9_000, minBps: 700, jitter: 5, priority: 2, timeoutMs: 8_000, ttlS: 60 },
      metadataMimetype: '',
    };
    answer = async () =>
      opened({
        qos: {
          ...{
            keyChunkSize: 32,
            maxBps: 0,
            minBps: 900,
            jitter: 9,
            priority: 8,
            timeoutMs: 600_000,
            ttlS: 0,
          },
          metadataMimetype: 'application/json',
        },
      });
    assert.deepEqual((await open({ qos: asked })).qos, { ...asked, keyChunkSize: 32 });
    answer = async () => opened({ qos: { ...asked, minBps: 500, timeoutMs: 3_000 } });
    const other = await open({ qos: asked, ksid: ksidOf(2).text });
    assert.deepEqual(other.qos, { ...asked, minBps: 500, timeoutMs: 3_000 });
  });

  for (const keyChunkSize of [33, 12_240, 0]) {
    it(`refuses an answer with chunks of ${keyChunkSize} bytes where 32 were offered`, async () => {
      answer = async () => opened({ qos: { ...QOS, keyChunkSize } });
      await assert.rejects(open(), (error: Error) => {
        assert.ok(isReason(error, 'AGREEMENT_FAILED'), error.message);
        assert.match(error.message, new RegExp(`key_chunk_size of ${keyChunkSize}, where 32`));
        return true;
      });
      assert.equal(alice.store.size, 0);
      assert.equal(alice.peerOf(BOB).count('close'), 1);
    });
  }

  it('lets no repeated answer change a stream that lives', async () => {
    answer = async () => opened({ joined: false });
    const stream = await open({ presence: 'node' });
    answer = async () =>
      opened({ joined: false, allowDegraded: true, qos: { ...QOS, keyChunkSize: 16, timeoutMs: 1 } });
    await alice.clock.advance(6_000);
    assert.ok(offers().length > 1);
    assert.deepEqual(stream.qos, QOS);
    stream.release(0, Buffer.alloc(64), false);
    assert.equal(stream.buffer.size, 2, 'keys are cut at another size than they were made with');
  });

  it('makes nothing before the size of the chunks is agreed, though the other end has joined', async () => {
    const pending = Promise.withResolvers<OpenResponse>();
    answer = () => pending.promise;
    const opening = open();
    await settle();
    const stream = alice.store.get(ksidOf(1).text);
    assert.ok(stream);
    const { wanted, demanded } = idleInitiator(stream);
    const name = { keyStreamId: stream.idBytes, incarnation: stream.incarnation };
    assert.deepEqual(await alice.agreement.join(name, from(BOB)), { accepted: true });
    const demand = alice.agreement.demand({ demands: [{ ...name, count: 1, waitedFor: true }] }, from(BOB));
    await settle();
    assert.deepEqual([wanted, demanded, stream.local], [[], [], 'waiting']);
    pending.resolve(opened({ qos: { ...QOS, keyChunkSize: 16 } }));
    await opening;
    await demand;
    assert.equal(stream.qos.keyChunkSize, 16);
    assert.deepEqual([wanted, demanded], [[], [[1, true]]]);
  });

  it('offers again where the other end has joined and its answer was lost', async () => {
    answer = async () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'cut off'));
    const opening = open();
    await settle();
    const stream = alice.store.get(ksidOf(1).text);
    assert.ok(stream);
    await alice.agreement.join({ keyStreamId: stream.idBytes, incarnation: stream.incarnation }, from(BOB));
    answer = async () => opened({ qos: { ...QOS, keyChunkSize: 16 } });
    await alice.clock.advance(500);
    assert.equal((await opening).qos.keyChunkSize, 16);
  });

  it('keeps no stream for an application that has gone, whatever comes then', async () => {
    const gone = new AbortController();
    const pending = Promise.withResolvers<OpenResponse>();
    answer = () => pending.promise;
    const opening = open({ signal: gone.signal });
    await settle();
    const stream = alice.store.get(ksidOf(1).text);
    assert.ok(stream);
    gone.abort();
    const name = { keyStreamId: stream.idBytes, incarnation: stream.incarnation };
    assert.deepEqual(await alice.agreement.join(name, from(BOB)), { accepted: false });
    pending.resolve(opened());
    await assert.rejects(opening, /the application has gone away/);
    assert.equal(alice.store.size, 0);
    assert.equal(alice.peerOf(BOB).count('close'), 1);
  });

  it('refuses a KSID that is open at this end, with what to do', async () => {
    await open();
    await assert.rejects(open(), /KSID_IN_USE: .* is in use at this end; close it first/);
  });

  it('keeps to the quota of the peer, named, and its opening costs those with another peer nothing', async () => {
    alice = openingsOf(ALICE, { max_streams: 6 }, 2);
    const openTo = (n: number, peer: string) =>
      alice.initiator.open(wishOf('app', ALICE, peer, { ksid: ksidOf(n).text }));
    const first = await openTo(1, BOB);
    await openTo(2, BOB);
    await openTo(3, BOB);
    await assert.rejects(openTo(4, BOB), /LIMIT_EXCEEDED: .*max_streams_per_peer/);
    assert.equal(alice.peerOf(BOB).count('open'), 3, 'it was offered all the same');
    for (const n of [4, 5, 6]) await openTo(n, CAROL);
    await alice.ends.close(first, 'as the test says');
    await openTo(7, BOB);
  });
});

describe('an offer of what this end refuses', () => {
  const terms = termsOf('app', ALICE, BOB);
  const why = new KeyweaveError('UNSUPPORTED', 'below the floor', { cause: new Error('for the log') });

  it('goes to the peer under the KSID that was named, with the reason', async () => {
    await alice.initiator.offerRefused(terms, ksidOf(1).text, why);
    const [offer] = offers();
    assert.equal(offer?.incarnation.length, 8);
    assert.deepEqual(offer, {
      ...{ protocolVersion: PROTOCOL_VERSION, softwareVersion: VERSION, keyStreamId: ksidOf(1).bytes },
      ...{ source: terms.source, destination: terms.destination, method: 'hkdf-sha384', qos: undefined },
      ...{ slots: [...terms.slots], predefined: true, allowDegraded: false, incarnation: offer?.incarnation },
      refusal: { reason: 'UNSUPPORTED', detail: 'below the floor' },
    });
    assert.equal(alice.store.size, 0);
  });

  it('draws a KSID where none was named', async () => {
    await alice.initiator.offerRefused(terms, undefined, why);
    await alice.initiator.offerRefused(terms, undefined, why);
    const [first, second] = offers().map(({ keyStreamId }) => keyStreamId);
    assert.deepEqual([first?.length, second?.length], [16, 16]);
    assert.notDeepEqual(first, second);
    assert.equal(offers()[0]?.predefined, false);
  });

  it('says nothing of a KSID that is in use here, whose stream goes on', async () => {
    const stream = await open();
    await alice.initiator.offerRefused(terms, stream.id, why);
    assert.equal(offers().length, 1);
    assert.equal(stream.ended, false);
  });

  it('does not mind whether the peer is there, and waits for its answer, so that its application knows why first', async () => {
    const pending = Promise.withResolvers<OpenResponse>();
    answer = () => pending.promise;
    let over = false;
    const offered = alice.initiator.offerRefused(terms, undefined, why).then(() => {
      over = true;
    });
    await settle();
    assert.equal(over, false);
    pending.reject(new KeyweaveError('UNSUPPORTED', 'refused, too'));
    await offered;
    const [{ timeoutMs } = {}] = alice.peerOf(BOB).calls;
    assert.equal(timeoutMs, 500, 'its own application waits for it no longer');
  });
});
