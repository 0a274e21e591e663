import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { type ErrorReason, STATUS_TABLE } from '#common/errors/status-table.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import {
  ALICE,
  APPLICATION,
  BOB,
  CAROL,
  idleInitiator,
  ksidOf,
  type Openings,
  offerOf,
  opened,
  openingsOf,
  QOS,
  settle,
} from '#test/helpers/openings.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { RefusedRequest } from '../streams/stream-events.ts';
import type { Delivered, GetKey, OpenConnect } from './key-delivery.ts';

const KSID = ksidOf(1).text;
const NIL = '00000000-0000-0000-0000-000000000000';
const OWNER = { identity: 'spiffe://apps/alice', address: '10.0.0.1:5' };
const STRANGER = { identity: 'spiffe://apps/mallory', address: '10.0.0.2:5' };
const DEFAULTS = { method: 'hkdf-sha384', keySources: ['ML-KEM-768', 'QKD'] };

let alice: Openings;
let refused: RefusedRequest[];
let gone: AbortController;

beforeEach(() => {
  alice = openingsOf(ALICE);
  refused = [];
  alice.listener.refused = (request) => refused.push(request);
  gone = new AbortController();
});

const uri = (node: string, query = '') => `hybrid://app@${node}${query}`;

function open(change: Partial<OpenConnect> = {}) {
  return alice.delivery.open({
    ...{ source: uri(ALICE), destination: uri(BOB), qos: QOS, presence: 'app', defaults: DEFAULTS },
    ...{ owner: OWNER, signal: gone.signal },
    ...change,
  });
}

/** An open stream, and its keys from index 0 on. */
async function streamWith(count: number, change: Partial<OpenConnect> = {}): Promise<KeyStream> {
  const { ksid } = await open({ ksid: KSID, ...change });
  const stream = alice.store.get(ksid) as KeyStream;
  release(stream, 0, count);
  return stream;
}

function release(stream: KeyStream, first: number, count: number): void {
  const keys = Buffer.alloc(count * 32);
  for (let i = 0; i < count; i++) keys.fill(first + i + 1, i * 32, (i + 1) * 32);
  if (count > 0) stream.release(first, keys, false);
}

const getKey = (change: Partial<GetKey> = {}) =>
  alice.delivery.getKey({ ksid: KSID, owner: OWNER, signal: gone.signal, ...change });

function atOnce(delivered: Delivered | Promise<Delivered>): Delivered {
  assert.ok(!(delivered instanceof Promise), 'it was not given at once');
  return delivered;
}

const refusedAs =
  (reason: ErrorReason, words = /./) =>
  (error: unknown) =>
    isReason(error, reason) && words.test(String(error));

describe('OPEN_CONNECT', () => {
  it('of the source’s node offers the stream, which is the caller’s then, and takes no QKD key before it is read', async () => {
    const { ksid, qos, adjusted } = await open();
    const stream = alice.store.get(ksid);
    assert.ok(stream);
    assert.deepEqual([stream.role, stream.owner, stream.predefined], ['initiator', OWNER, false]);
    assert.deepEqual([qos, adjusted], [QOS, undefined]);
    await alice.clock.settle();
    assert.deepEqual(idleInitiator(stream).wanted, [0]);
  });

  it('is answered before keys are made for it, which would take the cores from the answer', async () => {
    const { ksid } = await open({ ksid: KSID });
    const producer = idleInitiator(alice.store.get(ksid) as KeyStream);
    assert.deepEqual(producer.wanted, []);
    await alice.clock.settle();
    assert.deepEqual(producer.wanted, [0]);
  });

  it('of the source’s node promises what its QKD link has left, and says so', async () => {
    alice.config.qkd.key_rate_bps = 2_560;
    alice.peerOf(BOB).script.open = async ({ qos }) => opened({ qos });
    const { qos, adjusted } = await open({ qos: { ...QOS, maxBps: 0, minBps: 100_000 } });
    assert.equal(qos.minBps, 2_560);
    assert.match(adjusted ?? '', /min_bps 100000 cannot be given, 2560 can/);
  });

  it('names what is a listener’s own for listeners alone', async () => {
    const [own, app] = [`hybrid://listener~x@${ALICE}`, uri(ALICE)];
    for (const change of [
      { source: own },
      { source: own.toUpperCase().replace(/@.*/, `@${ALICE}`) },
      { destination: `hybrid://listener~x@${BOB}` },
      { source: app, byListener: { readyKeys: 0 } },
    ]) {
      await assert.rejects(open(change), refusedAs('NO_ROUTE', /names that begin with listener~/));
    }
    const names = { source: own, destination: `hybrid://listener~x@${BOB}` };
    const { ksid } = await open({ ...names, byListener: { readyKeys: 7 } });
    await alice.clock.settle();
    assert.deepEqual(idleInitiator(alice.store.get(ksid) as KeyStream).wanted, [7]);
  });

  it('is told to those who listen: that it is open, whose it is, and that the other application has come', async () => {
    const told: unknown[] = [];
    alice.listener.opened = ({ id, owner }) => told.push(['opened', id, owner]);
    alice.listener.joined = ({ id }) => told.push(['joined', id]);
    await open({ ksid: KSID });
    await alice.responder.offered(offerOf('app', BOB, ALICE, 3), BOB);
    assert.equal(told.length, 2, 'an offer that nobody here has joined');
    const uris = { source: uri(BOB), destination: uri(ALICE) };
    await open(uris);
    const waiting = open(uris);
    await settle();
    await alice.responder.offered(offerOf('app', BOB, ALICE, 4), BOB);
    await alice.clock.settle();
    await waiting;
    const [one, two, three] = [1, 3, 4].map((n) => ksidOf(n).text);
    assert.deepEqual(told, [
      ['joined', one],
      ['opened', one, OWNER],
      ...[two, three].flatMap((id) => [
        ['opened', id, OWNER],
        ['joined', id],
      ]),
    ]);
  });

  it('of the destination’s node joins the peer’s offer', async () => {
    await alice.responder.offered(offerOf('app', BOB, ALICE, 3), BOB);
    const { ksid } = await open({ source: uri(BOB), destination: uri(ALICE) });
    const stream = alice.store.get(ksid);
    assert.deepEqual([ksid, stream?.role, stream?.owner], [ksidOf(3).text, 'responder', OWNER]);
  });

  it('takes a KSID in any case, and the nil UUID for none', async () => {
    assert.equal((await open({ ksid: KSID.toUpperCase() })).ksid, KSID);
    assert.notEqual((await open({ ksid: NIL })).ksid, NIL);
    await assert.rejects(open({ ksid: 'no uuid' }), refusedAs('BAD_REQUEST'));
  });

  it('takes from the listener what the URI leaves out, and only that', async () => {
    const defaults = { method: 'hkdf-sha256', keySources: ['QKD'] };
    const slotsOf = (ksid: string) => alice.store.get(ksid)?.terms.slots.map(({ algorithm }) => algorithm);
    const plain = await open({ defaults });
    assert.deepEqual(slotsOf(plain.ksid), ['QKD']);
    const named = await open({ defaults, source: uri(ALICE, '?kem_mec=HQC-128') });
    assert.deepEqual(slotsOf(named.ksid), ['HQC-128', 'QKD']);
    assert.equal(alice.store.get(named.ksid)?.terms.method.name, 'hkdf-sha256');
  });

  it('says what of the QoS could not be met', async () => {
    alice.peerOf(BOB).script.open = async () => opened({ qos: { ...QOS, keyChunkSize: 12_240 } });
    const { qos, adjusted } = await open({ qos: { ...QOS, keyChunkSize: 1_000_000 } });
    assert.equal(qos.keyChunkSize, 12_240);
    assert.match(adjusted ?? '', /key_chunk_size 1000000 cannot be given, 12240 can/);
  });

  it('is refused between other nodes than this one and a trusted one, whom it names', async () => {
    await assert.rejects(
      open({ source: uri(BOB), destination: uri(CAROL) }),
      refusedAs('NO_ROUTE', new RegExp(`names this node, which is ${ALICE}`)),
    );
    alice.trusted.delete(BOB);
    for (const uris of [{}, { source: uri(BOB), destination: uri(ALICE) }])
      await assert.rejects(open(uris), refusedAs('NO_ROUTE', new RegExp(`node ${BOB} is not among`)));
    alice.trusted.add(BOB);
    await open();
  });

  it('of too few sources is refused at both ends', async () => {
    const source = uri(ALICE, '?hybridization=xoring&key_sources=QKD');
    await assert.rejects(open({ source, ksid: KSID }), refusedAs('UNSUPPORTED', /two distinct secrets/));
    const [offer] = alice.peerOf(BOB).requests('open') as OpenRequest[];
    assert.deepEqual([offer?.keyStreamId, offer?.method], [ksidOf(1).bytes, 'xoring']);
    await assert.rejects(
      open({ source: uri(BOB, '?hybridization=xoring&key_sources=QKD'), destination: uri(ALICE) }),
      refusedAs('UNSUPPORTED'),
    );
    assert.equal(alice.peerOf(BOB).count('open'), 1, 'the responder has nothing to offer');
    alice.allowStandIn(BOB);
    alice.peerOf(BOB).script.open = async () => opened({ allowDegraded: true });
    await open({ source });
  });
});

describe('GET_KEY', () => {
  it('gives what is ready at once, with its metadata, and the caller owns it', async () => {
    const stream = await streamWith(3);
    const first = atOnce(getKey());
    assert.deepEqual([first.index, first.key.expose()], [0, Buffer.alloc(32, 1)]);
    assert.match(first.metadata, /^\{"age":0,"hops":0,"sources":\["ML-KEM-768","QKD"\]/);
    assert.deepEqual(atOnce(getKey({ index: 2 })).key.expose(), Buffer.alloc(32, 3));
    assert.equal(atOnce(getKey()).index, 1);
    assert.equal(stream.buffer.size, 0);
    stream.end(new KeyweaveError('UNKNOWN_STREAM', 'over'));
    assert.equal(first.key.wiped, false);
  });

  it('waits for what is not, no longer than the stream’s timeout less what has gone by', async () => {
    const stream = await streamWith(0);
    const waiting = getKey();
    assert.ok(waiting instanceof Promise);
    release(stream, 0, 1);
    assert.equal((await waiting).index, 0);
    const late = Promise.resolve(getKey({ waitedMs: 9_000 }));
    const failed = assert.rejects(late, refusedAs('TIMEOUT'));
    await alice.clock.advance(999);
    assert.equal(stream.buffer.waiting, 1);
    await alice.clock.advance(1);
    await failed;
  });

  it('takes no key where the metadata must not be shortened and has no room, ready or not', async () => {
    const stream = await streamWith(1);
    const metadata = { room: 30, whenTooSmall: 'refuse' } as const;
    assert.throws(() => getKey({ metadata }), refusedAs('METADATA_TOO_SMALL'));
    assert.equal(STATUS_TABLE.METADATA_TOO_SMALL.etsi004, 8);
    assert.equal(stream.buffer.size, 1);
    atOnce(getKey({ metadata: { room: 30, whenTooSmall: 'shorten' } }));
    const waiting = Promise.resolve(getKey({ metadata }));
    release(stream, 1, 1);
    await assert.rejects(waiting, refusedAs('METADATA_TOO_SMALL'));
    const next = atOnce(getKey());
    assert.deepEqual([next.index, next.key.expose()], [1, Buffer.alloc(32, 2)]);
  });

  it('takes no key that was waited for once nobody waits, though it comes in the same turn', async () => {
    const stream = await streamWith(0);
    const before = Promise.resolve(getKey());
    gone.abort();
    release(stream, 0, 1);
    await assert.rejects(before, refusedAs('TIMEOUT', /has gone away/));
    assert.equal(stream.buffer.size, 1);
    atOnce(getKey({ signal: new AbortController().signal }));
    gone = new AbortController();
    const behind = Promise.resolve(getKey());
    release(stream, 1, 1);
    gone.abort();
    await assert.rejects(behind, refusedAs('TIMEOUT', /has gone away/));
    assert.equal(stream.buffer.size, 1);
  });

  it('takes no key that max_bps has held back once nobody waits', async () => {
    const stream = await streamWith(3, { qos: { ...QOS, maxBps: 256 } });
    atOnce(getKey());
    const held = Promise.resolve(getKey());
    const failed = assert.rejects(held, refusedAs('TIMEOUT', /has gone away/));
    gone.abort();
    await alice.clock.advance(3_000);
    await failed;
    assert.equal(stream.buffer.size, 2);
  });
});

describe('a stream', () => {
  it('is to another identity what is nobody’s, in every call and word for word', async () => {
    const stream = await streamWith(1);
    const unknown = ksidOf(99).text;
    const errorOf = (act: () => unknown) => {
      try {
        act();
      } catch (error) {
        return error as KeyweaveError;
      }
      return assert.fail('it was given');
    };
    for (const owner of [STRANGER, APPLICATION, { ...OWNER, identity: undefined }]) {
      for (const call of ['getKey', 'close'] as const) {
        const ask = (ksid: string) =>
          errorOf(() => alice.delivery[call]({ ksid, owner, signal: gone.signal }));
        const [theirs, nobodys] = [ask(stream.id), ask(unknown)];
        assert.deepEqual([theirs.reason, theirs.detail], [nobodys.reason, nobodys.detail]);
        assert.equal(theirs.reason, 'UNKNOWN_STREAM');
      }
    }
    assert.deepEqual([stream.ended, stream.buffer.size], [false, 1]);
    alice.ends.supersede(stream, new KeyweaveError('UNKNOWN_STREAM', 'opened anew; open it again'));
    assert.throws(
      () => getKey({ owner: STRANGER }),
      refusedAs('UNKNOWN_STREAM', /OPEN_CONNECT must be called/),
    );
    assert.throws(() => getKey(), refusedAs('UNKNOWN_STREAM', /opened anew/));
  });

  it('without an identity is whoever’s knows its KSID and has none either', async () => {
    await streamWith(2, { owner: APPLICATION });
    atOnce(getKey({ owner: { identity: undefined, address: '10.9.9.9:1' } }));
    assert.throws(() => getKey({ owner: OWNER }), refusedAs('UNKNOWN_STREAM'));
  });

  it('is nobody’s before it is open', async () => {
    alice.peerOf(BOB).script.open = () => new Promise(() => undefined);
    const opening = open({ ksid: KSID });
    opening.catch(() => undefined);
    await settle();
    assert.ok(alice.store.get(KSID));
    assert.throws(() => getKey(), refusedAs('UNKNOWN_STREAM'));
    assert.throws(() => alice.delivery.close({ ksid: KSID, owner: OWNER }), refusedAs('UNKNOWN_STREAM'));
  });

  it('must be named by a UUID, which is not nil', async () => {
    assert.throws(() => getKey({ ksid: 'x' }), refusedAs('BAD_REQUEST'));
    assert.throws(() => getKey({ ksid: NIL }), refusedAs('UNKNOWN_STREAM'));
  });
});

describe('CLOSE', () => {
  it('wipes this end at once and tells the peer', async () => {
    const stream = await streamWith(1);
    alice.delivery.close({ ksid: KSID.toUpperCase(), owner: OWNER });
    assert.deepEqual([stream.ended, stream.buffer.size, alice.store.size], [true, 0, 0]);
    await settle();
    assert.equal(alice.peerOf(BOB).count('close'), 1);
    assert.throws(() => getKey(), refusedAs('UNKNOWN_STREAM'));
  });

  it('of all streams is over when all peers have been told, or could not be', async () => {
    await streamWith(1);
    await open({ ksid: ksidOf(2).text, destination: uri(CAROL) });
    alice.peerOf(BOB).script.close = async () =>
      Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    await alice.delivery.closeAll('the gateway is stopping');
    assert.equal(alice.store.size, 0);
    const [close] = alice.peerOf(CAROL).requests('close') as { reason: string }[];
    assert.equal(close?.reason, 'the gateway is stopping');
  });
});

describe('what is refused', () => {
  it('is told to those who listen, with who asked, and thrown as it is', async () => {
    await assert.rejects(open({ source: 'x' }));
    assert.throws(() => getKey());
    assert.throws(() => alice.delivery.close({ ksid: KSID, owner: STRANGER }));
    const stream = await streamWith(0);
    const waiting = assert.rejects(Promise.resolve(getKey()));
    stream.failWaiters(new KeyweaveError('QKD_UNAVAILABLE', 'gone'));
    await waiting;
    assert.deepEqual(
      refused.map(({ call, owner, error }) => [call, owner, error.reason]),
      [
        ['open', OWNER, 'NO_ROUTE'],
        ['getKey', OWNER, 'UNKNOWN_STREAM'],
        ['close', STRANGER, 'UNKNOWN_STREAM'],
        ['getKey', OWNER, 'QKD_UNAVAILABLE'],
      ],
    );
  });

  it('is not what an application has gone away from', async () => {
    await streamWith(0);
    const waiting = assert.rejects(Promise.resolve(getKey()));
    gone.abort();
    await waiting;
    assert.deepEqual(refused, []);
  });
});
