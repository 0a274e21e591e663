import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { systemRandom } from '#common/crypto/random.ts';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { BatchOffer, DemandAnswer, StreamDemand } from '#gen/keyweave/v1/key_agreement.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { FakeKeyManager, keysFrom } from '#test/helpers/fake-key-manager.ts';
import { keyStream, LIVING, qkdReference, termsOf } from '#test/helpers/streams.ts';
import { Reservoirs } from '../../reservoirs/reservoirs.ts';
import type { KeyStream } from '../../streams/key-stream.ts';
import { ResponderProducer } from './responder-producer.ts';

const NOTED: DemandAnswer = { buffered: 0, failure: undefined };

let clock: FakeClock;
let stream: KeyStream<ResponderProducer>;
let producer: ResponderProducer;
/** When which question was asked. */
let asked: { atMs: number; demand: StreamDemand }[];
/** Chunks that the initiator is making by itself. */
let coming: number;
let manager: FakeKeyManager;
let reservoirs: Reservoirs;
let answer: (question: number) => Promise<DemandAnswer>;

beforeEach(() => {
  clock = new FakeClock();
  asked = [];
  answer = async () => NOTED;
  const demand = (one: StreamDemand) => {
    asked.push({ atMs: clock.monotonicMs(), demand: one });
    // A loop without pauses would never give the test its turn back.
    return asked.length > 1_000 ? new Promise<never>(() => undefined) : answer(asked.length);
  };
  const log = silentLog;
  manager = new FakeKeyManager();
  reservoirs = new Reservoirs({
    ...{ qkd: manager, clock, log, random: systemRandom },
    links: { to: () => assert.fail('a responder announces nothing') },
    settings: {
      ...{ join: 'auto', block_keys: 1, sharing: 'link' },
      reservoir: { max_keys: 2_048, max_age: 60_000 },
      key_rate_bps: 0,
    },
  });
  stream = keyStream<ResponderProducer>({
    terms: termsOf('xoring', ['ML-KEM-768', 'QKD']),
    role: 'responder',
    qos: { timeoutMs: 60_000, metadataMimetype: '' },
    clock,
    peer: 'joined',
    producer: (one) => new ResponderProducer(one, { clock, log, link: { demand }, reservoirs }),
  });
  producer = stream.producer;
  coming = 0;
  Object.defineProperty(producer.batches, 'coming', { get: () => coming });
});
afterEach(() => {
  stream.end(new KeyweaveError('UNKNOWN_STREAM', 'the test is over'));
  reservoirs.stop();
  assert.equal(clock.pending, 0, 'a timer outlives its stream');
});

const pass = (ms: number) => clock.advance(ms);

/** A GET_KEY; what came of it is in the list once it has come. */
function getKey(timeoutMs = 60_000): unknown[] {
  const outcome: unknown[] = [];
  Promise.resolve(stream.take(undefined, timeoutMs, () => undefined, LIVING)).then(
    (chunk) => outcome.push(chunk),
    (error) => outcome.push(error),
  );
  return outcome;
}

const times = () => asked.map(({ atMs }) => atMs);
const release = (first: number, count = 1) => {
  stream.indexes.claim(first, count);
  stream.release(first, Buffer.alloc(32 * count, 1), false);
  stream.refill();
};

describe('ResponderProducer', () => {
  it('gives the initiator a moment before it asks, and says that somebody waits', async () => {
    getKey();
    await pass(90);
    assert.equal(asked.length, 0);
    await pass(20);
    assert.deepEqual(times(), [100]);
    assert.equal(asked[0]?.demand.waitedFor, true);
    assert.equal((asked[0]?.demand.count ?? 0) >= 1, true);
  });

  it('repeats a question that brings nothing ever less often, and never in a loop', async () => {
    getKey();
    await pass(1_500);
    assert.ok(asked.length <= 4, `asked ${asked.length} times in 1.5 s`);
    await pass(18_500);
    assert.deepEqual(times().slice(0, 5), [100, 350, 850, 1850, 3850]);
    assert.ok(asked.length <= 14, `asked ${asked.length} times in 20 s`);
    assert.ok(asked.length >= 10, 'it gave up');
  });

  it('is as quick as ever once chunks have come', async () => {
    getKey();
    await pass(5_000);
    const before = asked.length;
    release(0);
    await pass(500);
    const from = clock.monotonicMs();
    getKey();
    await pass(110);
    assert.equal(asked.length, before + 1);
    assert.equal(asked.at(-1)?.atMs, from + 100);
  });

  it('asks no more once nobody waits and what it asked for is noted', async () => {
    const outcome = getKey(300);
    await pass(400);
    assert.equal(isReason(outcome[0], 'TIMEOUT'), true);
    const before = asked.length;
    await pass(20_000);
    assert.ok(asked.length <= before + 1, `asked ${asked.length - before} times more`);
  });

  it('tells those who wait, in its words, why the initiator could not make any', async () => {
    answer = async (question) =>
      question < 2
        ? NOTED
        : { buffered: 0, failure: { reason: 'QKD_UNAVAILABLE', detail: 'the key manager is away' } };
    const outcome = getKey();
    await pass(360);
    assert.match(String(outcome[0]), /QKD_UNAVAILABLE: the key manager is away/);
    const before = asked.length;
    await pass(5_000);
    assert.equal(asked.length, before, 'nobody waits any more');
  });

  it('asks an initiator that cannot be reached again, then tells those who wait', async () => {
    answer = () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    const outcome = getKey();
    await pass(800);
    assert.deepEqual(outcome, []);
    await pass(4_000);
    assert.match(String(outcome[0]), /PEER_UNREACHABLE/);
    assert.equal(asked.length, 8);
  });

  it('ends the stream where the initiator no longer knows it', async () => {
    answer = async () => ({ buffered: 0, failure: { reason: 'UNKNOWN_STREAM', detail: 'who?' } });
    const outcome = getKey();
    await pass(200);
    assert.match(String(outcome[0]), /no longer knows this stream/);
    assert.equal(stream.peer, 'closed');
  });

  it('asks a full initiator again while somebody waits, ever more rarely, until there is room', async () => {
    answer = async () => ({ buffered: 0, failure: { reason: 'NO_ROOM', detail: 'it holds 16 unread keys' } });
    const outcome = getKey();
    await pass(1_500);
    assert.deepEqual(outcome, [], 'who waits was told too early');
    const before = asked.length;
    assert.ok(before >= 2 && before <= 5, `${before} questions`);
    answer = async () => {
      stream.indexes.claim(0, 1);
      stream.release(0, Buffer.alloc(32, 1), false);
      return { buffered: 0, failure: undefined };
    };
    await pass(2_500);
    assert.equal((outcome[0] as { index?: number } | undefined)?.index, 0);
  });

  it('tells who waits what for when the time has run out, and then asks no more', async () => {
    answer = async () => ({ buffered: 0, failure: { reason: 'NO_ROOM', detail: 'it holds 16 unread keys' } });
    const outcome = getKey(8_000);
    await pass(13_000);
    assert.match(String(outcome[0]), /NO_ROOM: it holds 16 unread keys/);
    const { length } = asked;
    await pass(10_000);
    assert.equal(asked.length, length);
  });

  /** Has the QKD keys opened that are the stream's own. */
  const open = async () => {
    const reference = qkdReference({ reservoir: stream.idBytes });
    await producer.qkd(reference).prepare(reference);
  };

  it('leaves the key manager once the other end has closed, though this end may still read', async () => {
    await open();
    release(0);
    stream.peerClosed('the other end has closed this stream');
    await clock.settle();
    assert.equal(manager.closed.length, 1);
    assert.equal(stream.buffer.size, 1);
    assert.throws(() => producer.batches.admit({} as BatchOffer), /this end has closed the stream/);
  });

  it('closes its QKD stream at its end, and names none to strangers after that', async () => {
    await open();
    producer.stop();
    producer.stop();
    await clock.settle();
    assert.equal(manager.closed.length, 1);
    await pass(120_000);
    assert.throws(() => producer.qkd(qkdReference()), /UNKNOWN_STREAM/);
  });

  it('takes the QKD keys that its initiator shares with this node, and leaves them to other streams', async () => {
    const reference = qkdReference({ qkdKeyStreamId: 'shared' });
    const keys = await producer.qkd(reference).take(reference, 2, 1);
    assert.deepEqual(keys, keysFrom(0, 0, 2));
    const { sourceNode, destinationNode } = stream.terms;
    const [opened] = manager.opened;
    assert.deepEqual([opened?.sourceNode, opened?.destinationNode], [sourceNode, destinationNode]);
    producer.stop();
    await clock.settle();
    assert.equal(manager.closed.length, 0);
  });

  it('takes no QKD keys where none of its slots needs any', () => {
    const other = keyStream<ResponderProducer>({
      ...{ terms: termsOf('hkdf-sha384', ['ML-KEM-768']), role: 'responder', clock },
      producer: (one) =>
        new ResponderProducer(one, {
          ...{ clock, log: silentLog, link: { demand: async () => NOTED } },
          reservoirs: { joinResponder: assert.fail, leaveResponder: assert.fail } as unknown as Reservoirs,
        }),
    });
    other.producer.stop();
  });

  it('has one question under way', async () => {
    answer = () => new Promise(() => undefined);
    for (let i = 0; i < 5; i++) {
      getKey();
      await pass(500);
    }
    assert.equal(asked.length, 1);
  });

  it('gives the initiator longer where nobody waits, and says so', async () => {
    for (let i = 0; i < 60; i++) {
      await pass(5);
      stream.depth.noteGet(clock.monotonicMs());
    }
    await pass(700);
    assert.equal(asked.length, 0);
    stream.refill();
    await pass(990);
    assert.equal(asked.length, 0);
    await pass(2_000);
    assert.deepEqual(times(), [2_000]);
    assert.equal(asked[0]?.demand.waitedFor, false);
  });

  it('asks the sooner as soon as somebody waits', async () => {
    stream.refill();
    await pass(500);
    getKey();
    await pass(5_000);
    assert.deepEqual(times().slice(0, 2), [600, 850]);
  });

  it('does not put its question off when it is wanted again', async () => {
    for (let i = 0; i < 10; i++) {
      getKey();
      await pass(50);
    }
    assert.equal(times()[0], 100);
  });

  it('asks for nothing that is on its way already, and not once nothing is wanted any more', async () => {
    getKey(50);
    await pass(60);
    producer.want(0);
    await pass(3_000);
    assert.equal(asked.length, 0);
    getKey();
    coming = 1;
    await pass(3_000);
    assert.equal(asked.length, 0);
  });

  it('asks after all where what is on its way waits too long for its confirmation', async () => {
    answer = () => Promise.reject(new KeyweaveError('UNKNOWN_STREAM', 'another life of that gateway'));
    coming = 1;
    let heldMs = 0;
    Object.defineProperty(producer.batches, 'oldestMs', { get: () => heldMs });
    const outcome = getKey();
    await pass(2_500);
    assert.equal(asked.length, 0, 'it was made a moment ago');
    heldMs = 1_000;
    await pass(1_000);
    assert.deepEqual(
      asked.map(({ demand }) => [demand.count, demand.waitedFor]),
      [[1, true]],
    );
    assert.match(String(outcome[0]), /PEER_APPLICATION_ABSENT: the other node no longer knows this stream/);
  });

  it('keeps its pause while no chunk has come, however many more wait', async () => {
    getKey();
    await pass(900);
    getKey();
    await pass(500);
    assert.deepEqual(times(), [100, 350, 850]);
  });

  it('begins with short pauses again once chunks have come', async () => {
    getKey();
    await pass(5_000);
    release(0);
    getKey();
    const from = clock.monotonicMs();
    await pass(1_000);
    assert.deepEqual(
      times()
        .filter((at) => at > from)
        .map((at) => at - from),
      [100, 350, 850],
    );
  });

  it('asks no more for a stream that has ended, whether it is pausing or asking', async () => {
    getKey();
    await pass(50);
    producer.stop();
    getKey();
    await pass(3_000);
    assert.equal(asked.length, 0);
  });

  it('tells nobody of a failure that comes after the end', async () => {
    const { promise, resolve } = Promise.withResolvers<DemandAnswer>();
    answer = () => promise;
    const outcome = getKey();
    await pass(200);
    producer.stop();
    resolve({ buffered: 0, failure: { reason: 'UNKNOWN_STREAM', detail: 'who?' } });
    await pass(3_000);
    assert.deepEqual([outcome, stream.peer, asked.length], [[], 'joined', 1]);
  });

  it('counts lost questions anew once one was answered', async () => {
    const lost = () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'gone'));
    answer = (question) => (question === 4 ? Promise.resolve(NOTED) : lost());
    const outcome = getKey();
    await pass(4_000);
    assert.ok(asked.length > 8, `${asked.length}`);
    assert.deepEqual(outcome, [], 'a question that was answered was counted as lost');
    await pass(4_000);
    assert.match(String(outcome[0]), /PEER_UNREACHABLE/);
    assert.equal(asked.length, 12);
  });

  it('tells those who wait at once of a loss that will not pass', async () => {
    answer = () => Promise.reject(new KeyweaveError('NOT_ALLOWED', 'no peer of mine'));
    const outcome = getKey();
    await pass(150);
    assert.match(String(outcome[0]), /NOT_ALLOWED/);
    await pass(3_000);
    assert.equal(asked.length, 1);
  });

  it('says in a timeout that its questions were lost', async () => {
    answer = () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'no way there'));
    const outcome = getKey(250);
    await pass(300);
    assert.match(String(outcome[0]), /TIMEOUT.*last failure: no way there/);
  });

  it('asks for as many as wait', async () => {
    for (let i = 0; i < 3; i++) getKey();
    await pass(400);
    assert.ok((asked[0]?.demand.count ?? 0) >= 3);
    assert.equal(asked[1]?.demand.count, 3);
  });
});
