import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { OpenRequest, OpenResponse } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  BOB,
  from,
  ksidOf,
  type Openings,
  opened,
  openingsOf,
  pass,
  QOS,
  settle,
  wishOf,
} from '#test/helpers/openings.ts';
import type { InitiatorProducer } from '../production/initiator/initiator-producer.ts';

let alice: Openings;
let answer: (request: OpenRequest) => Promise<OpenResponse>;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  alice = openingsOf(ALICE);
  answer = async () => opened();
  alice.peerOf(BOB).script.open = (request) => answer(request);
});
afterEach(() => mock.timers.reset());

const open = (change: object = {}) =>
  alice.rendezvous.openAsInitiator({
    ...wishOf('app', ALICE, BOB),
    ...{ ksid: ksidOf(1).text, predefined: true },
    ...change,
  });
const offers = () =>
  alice
    .peerOf(BOB)
    .calls.filter(({ call }) => call === 'open')
    .map(({ request }) => request as OpenRequest);

describe('the initiator', () => {
  it('draws an incarnation for each stream, also of the same KSID, and repeats the same offer', async () => {
    answer = async () => opened({ joined: offers().length > 2 });
    const first = open();
    await pass(alice, 3_000);
    const stream = await first;
    assert.equal(offers().length, 3);
    for (const offer of offers()) assert.deepEqual(offer, offers()[0]);
    alice.registry.remove(stream);
    const second = await open();
    assert.equal(stream.incarnation.length, 8);
    assert.notDeepEqual(second.incarnation, stream.incarnation);
    assert.deepEqual(offers().at(-1)?.incarnation, second.incarnation);
    const epochs = [stream, second].map(({ supply }) => (supply as InitiatorProducer).qkd.epoch);
    assert.notEqual(epochs[0], epochs[1], 'both meet the same stream at the key managers');
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
      assert.equal(alice.registry.size, 0);
      assert.equal(alice.peerOf(BOB).count('close'), 1);
    });
  }

  it('lets no repeated answer change a stream that lives', async () => {
    answer = async () => opened({ joined: false });
    const stream = await open({ presence: 'node' });
    answer = async () =>
      opened({ joined: false, allowDegraded: true, qos: { ...QOS, keyChunkSize: 16, timeoutMs: 1 } });
    await pass(alice, 6_000);
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
    const stream = alice.registry.get(ksidOf(1).text);
    assert.ok(stream?.supply);
    let wanted = 0;
    Object.assign(stream.supply, {
      want: () => {
        wanted += 1;
      },
      demand: () => {
        wanted += 1;
      },
    });
    const name = { keyStreamId: stream.idBytes, incarnation: stream.incarnation };
    assert.deepEqual(await alice.agreement.join(name, from(BOB)), { accepted: true });
    const demand = alice.agreement.demand({ demands: [{ ...name, count: 1, waitedFor: true }] }, from(BOB));
    await settle();
    assert.deepEqual([wanted, stream.local], [0, 'waiting']);
    pending.resolve(opened({ qos: { ...QOS, keyChunkSize: 16 } }));
    await opening;
    await demand;
    assert.equal(stream.qos.keyChunkSize, 16);
    assert.equal(wanted, 1);
  });

  it('offers again where the other end has joined and its answer was lost', async () => {
    answer = async () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'cut off'));
    const opening = open();
    await settle();
    const stream = alice.registry.get(ksidOf(1).text);
    assert.ok(stream);
    await alice.agreement.join({ keyStreamId: stream.idBytes, incarnation: stream.incarnation }, from(BOB));
    answer = async () => opened({ qos: { ...QOS, keyChunkSize: 16 } });
    await pass(alice, 500);
    assert.equal((await opening).qos.keyChunkSize, 16);
  });

  it('keeps no stream for an application that has gone, whatever comes then', async () => {
    const gone = new AbortController();
    const pending = Promise.withResolvers<OpenResponse>();
    answer = () => pending.promise;
    const opening = open({ signal: gone.signal });
    await settle();
    const stream = alice.registry.get(ksidOf(1).text);
    assert.ok(stream);
    gone.abort();
    const name = { keyStreamId: stream.idBytes, incarnation: stream.incarnation };
    assert.deepEqual(await alice.agreement.join(name, from(BOB)), { accepted: false });
    pending.resolve(opened());
    await assert.rejects(opening, /the application has gone away/);
    assert.equal(alice.registry.size, 0);
    assert.equal(alice.peerOf(BOB).count('close'), 1);
  });

  it('refuses a KSID that is open at this end, with what to do', async () => {
    await open();
    await assert.rejects(open(), /KSID_IN_USE: .* is in use at this end; close it first/);
  });
});
