import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ProducerBench } from '#test/helpers/producer-bench.ts';
import { HeldBytes } from '../../streams/held/held-bytes.ts';

let bench: ProducerBench;

beforeEach(() => {
  bench = new ProducerBench(['ML-KEM-768']);
});
afterEach(() => {
  bench.producer.stop();
});

/** Both ends have proven themselves, and nothing is buffered, wanted or on its way. */
async function proven(): Promise<void> {
  bench.producer.want(1);
  await bench.succeeds(bench.last);
  while (bench.begun.length > 1) await bench.succeeds(bench.begun.pop() as never);
  while (bench.stream.buffer.take());
  bench.begun.length = 0;
}

const counts = () => bench.begun.map(({ count }) => count);
const indexes = () => bench.begun.map(({ first }) => first);

describe("an initiator's batches", () => {
  it('are offered one at a time, with two unconfirmed ones at most, of ascending indexes', async () => {
    bench.producer.want(2);
    bench.producer.want(3);
    assert.deepEqual(counts(), [2], 'a batch was offered beside another');
    bench.answers(bench.last);
    bench.producer.want(3);
    bench.answers(bench.last);
    bench.producer.want(4);
    assert.deepEqual(counts(), [2, 3], 'three batches are agreed and not confirmed');
    assert.equal(bench.producer.offerable, 0);
    await bench.confirmed(bench.begun[0] as never);
    bench.producer.want(1);
    assert.deepEqual(indexes(), [0, 2, 5]);
  });

  it('hold as many chunks as are wanted, as the configuration, and as the other end has said it makes', async () => {
    bench = new ProducerBench(['ML-KEM-768'], {
      maxBatchChunks: 8,
      stream: { maxBufferedChunks: 1_000, maxPrefetchChunks: 1_000 },
    });
    bench.producer.want(100);
    bench.answers(bench.last, { most: 5 });
    bench.producer.want(100);
    bench.answers(bench.last, { most: 6 });
    await bench.confirmed(bench.begun[0] as never);
    bench.producer.want(100);
    bench.answers(bench.last, { most: 0 });
    await bench.confirmed(bench.begun[1] as never);
    bench.producer.want(100);
    assert.deepEqual(counts(), [8, 5, 5, 5]);
  });

  it('leave no gap behind one of which the other end made less', async () => {
    bench.producer.want(5);
    bench.answers(bench.last, { count: 3 });
    assert.equal(bench.producer.coming, 3);
    bench.producer.want(1);
    assert.deepEqual(indexes(), [0, 3]);
    bench.producer.end(bench.begun[0] as never, 3, Promise.resolve(Buffer.alloc(3 * 32)));
    await bench.settle();
    assert.equal(bench.stream.buffer.size, 3);
    assert.equal(bench.producer.coming, 1);
  });

  it('hold single chunks where the other end makes no more', () => {
    bench.producer.want(4);
    bench.answers(bench.last, { most: 1 });
    bench.producer.want(4);
    assert.deepEqual(counts(), [4, 1]);
  });

  it('are not due before anybody asks, after the end, or while trouble is being waited out', async () => {
    assert.deepEqual([bench.producer.offerable, bench.producer.urgent], [0, false]);
    bench.producer.want(1);
    const first = bench.last;
    bench.answers(first);
    bench.held = true;
    bench.producer.want(2);
    assert.equal(bench.producer.offerable, 2);
    await bench.failsLate(first, 'AGREEMENT_FAILED');
    assert.equal(bench.producer.offerable, 0, 'a batch in the queue breaks the pause');
    await bench.pass(51);
    assert.equal(bench.producer.offerable, 2);
    bench.producer.stop();
    assert.equal(bench.producer.offerable, 0);
  });

  it('take a short answer for scarcity, but not one that the other end has announced', async () => {
    for (const [change, scarce] of [
      [{ count: 2 }, true],
      [{ count: 2, most: 4 }, true],
      [{ count: 2, most: 2 }, false],
      [{ count: 4, most: 4 }, false],
      [{ count: 4, most: 8 }, false],
    ] as const) {
      bench = new ProducerBench(['ML-KEM-768'], { stream: { maxBufferedChunks: 64, maxPrefetchChunks: 64 } });
      await bench.readFast();
      bench.producer.want(4);
      bench.answers(bench.last, change);
      const isScarce = bench.stream.depth.shortfall(0, 0, bench.clock.monotonicMs()) === 0;
      assert.equal(isScarce, scarce, JSON.stringify(change));
    }
  });

  it('are asked for anew at once, of what is still lacking', async () => {
    const waiting = [await bench.get(), await bench.get(), await bench.get()];
    bench.answers(bench.last);
    assert.equal(bench.begun.length, 2, 'nobody asked after the answer');
    for (const batch of [...bench.begun]) {
      if (batch !== bench.begun[0]) bench.answers(batch);
      await bench.confirmed(batch);
    }
    assert.ok(waiting.every(({ index }) => index !== undefined));
  });

  it('are released in the order of their indexes, whichever is done first', async () => {
    bench.producer.want(1);
    const first = bench.last;
    bench.answers(first);
    bench.producer.want(1);
    const second = bench.last;
    bench.answers(second);
    const outcomes = [first, second].map((batch) => {
      const outcome = Promise.withResolvers<Buffer>();
      bench.producer.end(batch, 1, outcome.promise);
      return outcome;
    });
    outcomes[1]?.resolve(Buffer.alloc(32, 2));
    await bench.settle();
    assert.equal(bench.stream.buffer.size, 0, 'a later batch was released before an earlier one');
    const settled = bench.producer.settled(5_000);
    outcomes[0]?.resolve(Buffer.alloc(32, 1));
    await settled;
    assert.equal(bench.stream.buffer.size, 2);
    assert.equal(bench.stream.buffer.take()?.index, 0);
  });

  it('that come after the end of the stream are wiped, and burn nothing', async () => {
    bench.producer.want(1);
    const batch = bench.last;
    bench.answers(batch);
    bench.producer.stop();
    const keys = await bench.confirmed(batch);
    assert.ok(keys.every((byte) => byte === 0));
    assert.equal(bench.stream.buffer.size, 0);
    bench.producer.want(1);
    assert.equal(bench.begun.length, 1);
    assert.equal(bench.producer.stopped, true);
  });

  it('that fail after the end of the stream change nothing', async () => {
    for (const reason of ['NO_ROOM', 'AGREEMENT_FAILED', 'UNKNOWN_STREAM'] as const) {
      bench = new ProducerBench(['ML-KEM-768']);
      const waiting = await bench.get();
      const before = bench.stream.lastFailure;
      bench.producer.stop();
      await bench.fails(bench.last, reason);
      await bench.pass(2_000);
      assert.deepEqual([bench.begun.length, waiting.error], [1, undefined], reason);
      assert.equal(bench.stream.lastFailure, before);
      assert.equal(bench.stream.indexes.frontier, 0);
      assert.equal(bench.stream.peer, 'joined');
    }
  });

  it('that fail burn their indexes at this end, and are made again of the next ones', async () => {
    const named = await bench.get(0);
    await bench.fails(bench.last, 'AGREEMENT_FAILED', 'tags differ');
    assert.ok(isReason(named.error, 'INSUFFICIENT_KEY'), 'a GET_KEY of a burned index waits on');
    assert.match(`${bench.stream.lastFailure?.detail}`, /tags differ/);
    await bench.pass(49);
    assert.equal(bench.begun.length, 1, 'no pause');
    await bench.pass(2);
    assert.deepEqual(indexes(), [0, bench.begun[0]?.count]);
  });

  it('go on behind indexes that were used without them', () => {
    bench.stream.indexes.settle(bench.stream.indexes.allot(7), false);
    bench.producer.want(1);
    assert.deepEqual(indexes(), [7]);
  });

  it('close the stream where the other node no longer knows it', async () => {
    const waiting = await bench.get();
    await bench.fails(bench.last, 'UNKNOWN_STREAM');
    assert.ok(isReason(waiting.error, 'PEER_APPLICATION_ABSENT'), `${waiting.error}`);
    assert.equal(bench.stream.peer, 'closed');
    await bench.pass(2_000);
    assert.equal(bench.begun.length, 1);
  });

  it('that fail for good tell those who wait, and are not repeated for nobody', async () => {
    bench = new ProducerBench(['ML-KEM-768'], { maxBatchChunks: 4 });
    const waiting = await bench.get();
    bench.producer.demand(40, true);
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(waiting, {});
      await bench.fails(bench.last, 'AGREEMENT_FAILED');
      await bench.pass(1_100);
    }
    assert.ok(isReason(waiting.error, 'AGREEMENT_FAILED'));
    assert.equal(bench.begun.length, 2);
    assert.equal(bench.producer.urgent, false);
    assert.throws(() => bench.producer.demand(1, true), { reason: 'AGREEMENT_FAILED' });
  });

  it('that fail for lack of keys are a reason to make none ahead; other failures are none', async () => {
    for (const [reason, scarce] of [
      ['INSUFFICIENT_KEY', true],
      ['AGREEMENT_FAILED', false],
    ] as const) {
      bench = new ProducerBench(['ML-KEM-768'], { stream: { allowDegraded: false } });
      await bench.readFast();
      bench.producer.want(1);
      await bench.fails(bench.last, reason);
      assert.equal(bench.stream.depth.shortfall(0, 0, bench.clock.monotonicMs()) === 0, scarce, reason);
    }
  });

  it('count in what is held for the peer while they are on their way', async () => {
    const held = new HeldBytes(10_000);
    bench = new ProducerBench(['ML-KEM-768'], { stream: { held } });
    bench.producer.want(4);
    assert.equal(held.bytes, 128);
    await bench.fails(bench.last, 'AGREEMENT_FAILED');
    assert.equal(held.bytes, 0);
    await bench.pass(1_100);
    await bench.succeeds(bench.last);
    assert.ok(held.bytes >= 128);
  });
});

describe('the weight of a stream', () => {
  for (const [priority, weight] of [
    [0, 1],
    [3, 4],
    [7, 8],
    [250, 8],
  ] as const) {
    it(`of priority ${priority} is ${weight}`, () => {
      bench = new ProducerBench(['ML-KEM-768'], { stream: { qos: { priority } } });
      assert.equal(bench.producer.weight, weight);
    });
  }
});

describe('a batch that has waited for its round', () => {
  it('takes no room that another stream of the peer has taken meanwhile', () => {
    const held = new HeldBytes(4 * 32);
    bench = new ProducerBench(['ML-KEM-768'], { stream: { held } });
    bench.held = true;
    bench.producer.want(4);
    assert.equal(bench.producer.offerable, 4);
    held.change(3 * 32);
    assert.equal(bench.producer.offerable, 1);
    held.change(32);
    assert.equal(bench.producer.offerable, 0);
  });
});

describe('an initiator that is asked by the other end', () => {
  beforeEach(proven);

  it('makes what is asked for beside what is on its way, at least one chunk', async () => {
    bench.producer.demand(0, false);
    assert.deepEqual(counts(), [1]);
    bench.producer.demand(5, false);
    bench.answers(bench.last);
    assert.equal(bench.begun[1]?.count, 4);
    bench.producer.demand(5, false);
    bench.answers(bench.last);
    await bench.confirmed(bench.begun[0] as never);
    await bench.confirmed(bench.begun[1] as never);
    assert.equal(bench.begun.length, 2, 'what is on its way was made twice');
  });

  it('makes no second chunk for who asks for the one that is on its way', () => {
    bench.producer.want(1);
    bench.producer.demand(1, true);
    bench.answers(bench.last);
    assert.deepEqual(counts(), [1]);
  });

  it('offers nothing for it any more once it has been told that there is no room', async () => {
    bench = new ProducerBench(['ML-KEM-768'], { maxBatchChunks: 4 });
    bench.producer.demand(40, true);
    await bench.fails(bench.last, 'NO_ROOM');
    await bench.pass(1_000);
    assert.deepEqual(counts(), [4]);
  });

  it('tells nothing to who has never asked', async () => {
    bench = new ProducerBench(['ML-KEM-768']);
    bench.producer.want(1);
    await bench.fails(bench.last, 'NO_ROOM');
    bench.producer.demand(1, true);
  });

  it('does not take for asked again what was asked once', async () => {
    bench.producer.demand(1, true);
    await bench.fails(bench.last, 'NO_ROOM');
    await bench.pass(4_000);
    bench.producer.want(1);
    await bench.fails(bench.last, 'NO_ROOM');
    await bench.pass(2_000);
    bench.producer.demand(1, true);
  });

  it('is urgent while the other end waits for what it has asked for, or somebody waits here', async () => {
    assert.equal(bench.producer.urgent, false);
    bench.producer.want(1);
    bench.producer.demand(3, false);
    assert.equal(bench.producer.urgent, false, 'nobody waits');
    bench.producer.demand(3, true);
    assert.equal(bench.producer.urgent, true);
    bench.answers(bench.last);
    assert.equal(bench.producer.urgent, false, 'what was asked for is on its way');
    await bench.get();
    assert.equal(bench.producer.urgent, true);
  });

  it('is urgent for one chunk, too', () => {
    bench.producer.want(1);
    bench.producer.demand(2, true);
    assert.equal(bench.producer.urgent, true);
  });

  it('says once why it could not, within five seconds, and only to who had asked', async () => {
    const refused = async () => {
      await bench.fails(bench.last, 'NO_ROOM', 'full');
    };
    bench.producer.want(1);
    await refused();
    bench.producer.demand(1, true);
    await bench.pass(1_100);
    await refused();
    assert.throws(() => bench.producer.demand(1, true), { reason: 'NO_ROOM' });
    bench.producer.demand(1, true);
    await bench.pass(1_100);
    await refused();
    await bench.pass(5_000);
    assert.throws(() => bench.producer.demand(1, true), { reason: 'NO_ROOM' });
    bench.producer.demand(1, true);
    await refused();
    await bench.pass(5_001);
    bench.producer.demand(1, true);
    await bench.succeeds(bench.last);
    bench.producer.want(1);
    await refused();
    await bench.pass(1_100);
    bench.producer.demand(1, true);
  });

  it('forgets why it could not once chunks have come', async () => {
    bench.producer.demand(1, true);
    const first = bench.last;
    bench.answers(first);
    bench.producer.demand(2, true);
    await bench.fails(bench.last, 'NO_ROOM');
    await bench.confirmed(first);
    await bench.pass(60);
    bench.producer.demand(1, true);
  });

  it('tells it when the stream has ended here', () => {
    bench.producer.stop();
    assert.throws(
      () => bench.producer.demand(1, true),
      new KeyweaveError('UNKNOWN_STREAM', 'the other end has closed this stream'),
    );
  });
});

describe('an initiator whose streams share rounds', () => {
  it('makes its own alone until a batch has succeeded, and always where a KEM is slow', async () => {
    assert.equal(bench.producer.alone, true);
    await proven();
    assert.equal(bench.producer.alone, false);
    bench = new ProducerBench(['Classic-McEliece-348864', 'ML-KEM-768']);
    await proven();
    assert.equal(bench.producer.isLight, false);
    assert.equal(bench.producer.alone, true);
  });
});
