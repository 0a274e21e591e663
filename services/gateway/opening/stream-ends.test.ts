import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Log } from '#common/log/log.ts';
import { silentLog } from '#common/log/silent-log.ts';
import {
  ALICE,
  APPLICATION,
  BOB,
  incarnation,
  ksidOf,
  type Openings,
  openingsOf,
  QOS,
  settle,
  type TestStream,
  termsOf,
} from '#test/helpers/openings.ts';
import { LIVING } from '#test/helpers/streams.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import { StreamEnds } from './stream-ends.ts';

let bob: Openings;
let stream: TestStream;
/** What those who listen to streams were told. */
let told: string[];

beforeEach(() => {
  bob = openingsOf(BOB);
  told = [];
  bob.listener.expired = ({ id }) => told.push(`expired ${id}`);
  bob.listener.closed = ({ id }, why) => told.push(`closed ${id}: ${why}`);
  stream = held(1);
});

function held(n: number, ttlS = QOS.ttlS): TestStream {
  const made = bob.factory.create({
    ...{ ksid: ksidOf(n).text, incarnation: incarnation(1), terms: termsOf('app', ALICE, BOB) },
    ...{ role: 'responder', qos: { ...QOS, ttlS }, predefined: false, allowDegraded: false },
  });
  bob.store.add(made);
  return made;
}

const closes = () => bob.peerOf(ALICE).requests('close');
const closeOf = (reason: string) => ({
  keyStreamId: stream.idBytes,
  incarnation: stream.incarnation,
  reason,
});
const whyTold = () => bob.store.ended.whyOf(stream.id, () => true);
const isNoted = ({ id, incarnation }: KeyStream) => bob.store.ended.has(ALICE, id, incarnation);

/** It has left the store, and nothing is to be had of it. */
function assertOver(one: KeyStream, words: RegExp): void {
  assert.equal(bob.store.get(one.id), undefined);
  assert.throws(
    () => one.take(undefined, 1_000, () => undefined, LIVING),
    (error) => isReason(error, 'UNKNOWN_STREAM') && words.test(`${error}`),
  );
}

describe('close', () => {
  it('wipes this end before anything else, tells the peer, and is over when it has been told', async () => {
    const answer = Promise.withResolvers<object>();
    bob.peerOf(ALICE).script.close = () => answer.promise;
    stream.release(0, Buffer.alloc(32, 7), false);
    const chunk = stream.buffer.peek();
    let over = false;
    const closing = bob.ends.close(stream, 'as the test says').then(() => {
      over = true;
    });
    assert.equal(chunk?.key.wiped, true);
    assertOver(stream, /this stream has ended: as the test says/);
    assert.deepEqual([isNoted(stream), whyTold()], [true, undefined]);
    await settle();
    assert.equal(over, false);
    answer.resolve({});
    await closing;
    assert.deepEqual(closes(), [closeOf('as the test says')]);
    assert.deepEqual(told, [`closed ${stream.id}: this stream has ended: as the test says`]);
  });

  it('of what the peer has closed tells nobody', async () => {
    stream.peerClosed('done');
    await bob.ends.close(stream, 'as the test says');
    assertOver(stream, /ended/);
    assert.deepEqual(closes(), []);
  });

  it('does not fail where the peer is not there, which is logged', async () => {
    const warnings: unknown[] = [];
    const log: Log = { ...silentLog, warning: (message, fields) => warnings.push([message, fields]) };
    const { store, links, events } = bob;
    bob.peerOf(ALICE).script.close = async () =>
      Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await new StreamEnds({ store, links, events, log }).close(stream, 'as the test says');
    assert.deepEqual(warnings, [['the peer could not be told of a CLOSE', { ksid: stream.id }]]);
    assertOver(stream, /ended/);
  });
});

describe('a TTL that has run out', () => {
  it('ends the stream, and tells the peer and those who listen', async () => {
    const shortLived = held(2, 60);
    await bob.clock.advance(59_999);
    assert.deepEqual(told, []);
    await bob.clock.advance(1);
    assertOver(shortLived, /this stream has ended: its TTL has run out/);
    const { id, idBytes, incarnation } = shortLived;
    assert.deepEqual(told, [`expired ${id}`, `closed ${id}: this stream has ended: its TTL has run out`]);
    assert.deepEqual(closes(), [{ keyStreamId: idBytes, incarnation, reason: 'its TTL has run out' }]);
  });
});

describe('withdraw', () => {
  it('ends what was never opened, as if it had never been, and does not mind whether the peer hears of it', async () => {
    bob.peerOf(ALICE).script.close = async () =>
      Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    bob.ends.withdraw(stream);
    await settle();
    assertOver(stream, /the stream was never opened/);
    assert.deepEqual([closes(), isNoted(stream)], [[closeOf('withdrawn')], false]);
  });
});

describe('forgetOffer', () => {
  it('tells an initiator that believes in a joined stream, and no other', async () => {
    bob.ends.forgetOffer(stream);
    assertOver(stream, /the offer was withdrawn/);
    assert.deepEqual(closes(), []);
    stream = held(2);
    stream.peerJoined();
    bob.ends.forgetOffer(stream);
    assert.deepEqual([closes(), isNoted(stream)], [[closeOf('nobody has joined')], false]);
  });
});

describe('supersede', () => {
  it('ends the stream, tells the peer nothing, and whoever asks for its keys why', () => {
    const why = new KeyweaveError('UNKNOWN_STREAM', 'opened anew');
    bob.ends.supersede(stream, why);
    assertOver(stream, /opened anew/);
    assert.deepEqual([isNoted(stream), whyTold(), closes()], [true, why, []]);
  });
});

describe('closedByPeer', () => {
  it('leaves an application of this end what is confirmed, and nobody else anything', () => {
    const joined = stream;
    joined.join(APPLICATION);
    joined.release(0, Buffer.alloc(32, 7), false);
    bob.ends.closedByPeer(joined);
    assert.deepEqual([joined.ended, joined.peer, bob.store.get(joined.id)], [false, 'closed', joined]);
    assert.equal(joined.buffer.size, 1);
    const offer = held(2);
    bob.ends.closedByPeer(offer);
    assertOver(offer, /the other end has closed this stream/);
    assert.deepEqual([isNoted(offer), closes()], [true, []]);
  });
});
