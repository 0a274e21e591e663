import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ProducerBench } from '#test/helpers/producer-bench.ts';
import { answerOf, keyStream } from '#test/helpers/streams.ts';
import { type Batch, degradedSlotOf } from '../batch.ts';
import { HeldBatches } from '../responder/held-batches.ts';

let bench: ProducerBench;

beforeEach(() => {
  bench = new ProducerBench(['ML-KEM-768', 'QKD']);
});
afterEach(() => {
  bench.producer.stop();
});

/** Why a responder that has no room refuses `batch`. */
function refusalOf(batch: Batch): KeyweaveError {
  const full = keyStream({ role: 'responder', terms: bench.stream.terms, maxBufferedChunks: 1 });
  full.release(0, Buffer.alloc(32, 1), false);
  try {
    new HeldBatches(full, new FakeClock()).admit({
      keyStreamId: full.idBytes,
      incarnation: full.incarnation,
      firstIndex: batch.first,
      count: batch.count,
      publicKeys: [{ slot: 0, publicKeys: Buffer.alloc(batch.count * 1184) }],
      qkd: batch.qkd,
      degradedSlot: degradedSlotOf(batch.standIn),
    });
  } catch (error) {
    return error as KeyweaveError;
  }
  throw new Error('a responder without room has taken the batch');
}

describe('an initiator whose other end has no room', () => {
  beforeEach(async () => {
    await bench.get();
    await bench.succeeds(bench.last);
    while (bench.stream.buffer.take());
    bench.begun.length = 0;
  });

  it('degrades nothing, keeps its QKD keys and its indexes, and fails nobody who waits', async () => {
    const waiting = await bench.get();
    const { first, count, qkd } = bench.last;
    for (let i = 0; i < 20; i++) {
      const { reason, detail } = refusalOf(bench.last);
      await bench.fails(bench.last, reason, detail);
      await bench.pass(1_100);
      assert.equal(bench.begun.length, i + 2, 'the batch was not offered again');
      assert.equal(bench.last.standIn, undefined, 'a shared_seed stands in though QKD is well');
      const { epoch, position } = bench.last.qkd ?? {};
      assert.deepEqual([epoch, position], [qkd?.epoch, qkd?.position], 'QKD keys were burned');
      assert.equal(bench.last.first, first, 'indexes were burned though nobody has used them');
      assert.deepEqual(waiting, {});
    }
    assert.equal(bench.keys.opened.length, 1);
    assert.equal(bench.producer.alone, false, 'it counts as trouble');
    await bench.succeeds(bench.last);
    assert.equal(waiting.index, first);
    assert.ok(count >= 1);
  });

  it('asks at growing intervals of 50 ms to 1 s, and from the start after it has found room', async () => {
    const gaps = async () => {
      const found: number[] = [];
      for (let i = 0; i < 7; i++) {
        const before = bench.begun.length;
        await bench.fails(bench.last, 'NO_ROOM');
        let ms = 0;
        for (; bench.begun.length === before && ms < 5_000; ms += 10) await bench.pass(10);
        found.push(ms);
      }
      return found;
    };
    await bench.get();
    const first = await gaps();
    for (const [i, ms] of first.entries()) {
      const expected = Math.min(1_000, 50 * 2 ** i);
      assert.ok(ms >= expected && ms <= expected + 20, `pauses of ${first}`);
    }
    await bench.succeeds(bench.last);
    while (bench.stream.buffer.take());
    await bench.get();
    assert.deepEqual((await gaps()).slice(0, 2), first.slice(0, 2));
  });

  it('asks for nobody: where no one waits nothing is offered until the next GET_KEY', async () => {
    bench.producer.want(3);
    await bench.settle();
    await bench.fails(bench.last, 'NO_ROOM');
    const offered = bench.begun.length;
    await bench.pass(60);
    await bench.pass(10_000);
    assert.equal(bench.begun.length, offered);
    await bench.get();
    assert.equal(bench.begun.length, offered + 1);
  });

  it('tells the other end that asks, and lets one who named an index wait on', async () => {
    const index = bench.stream.indexes.frontier;
    const waiting = await bench.get(index);
    bench.producer.demand(1, true);
    await bench.fails(bench.last, 'NO_ROOM', 'full');
    assert.throws(
      () => bench.producer.demand(1, true),
      (error) => isReason(error, 'NO_ROOM'),
    );
    await bench.pass(60);
    await bench.succeeds(bench.last);
    assert.equal(waiting.index, index);
  });

  it('names it to who waits when the time has run out', async () => {
    const waiting = await bench.get();
    await bench.fails(bench.last, 'NO_ROOM', 'the other end holds 16 unread keys');
    for (let i = 0; i < 61; i++) await bench.pass(1_000);
    assert.ok(isReason(waiting.error, 'NO_ROOM'), `${waiting.error}`);
    assert.match(`${waiting.error}`, /holds 16 unread keys/);
  });

  it('uses an index never again that both ends have agreed on, whatever the other end says later', async () => {
    const waiting = await bench.get();
    const batch = bench.last;
    bench.producer.answered(batch, answerOf(batch.count));
    bench.producer.end(batch, batch.count, Promise.reject(new KeyweaveError('NO_ROOM', 'so it says')));
    await bench.settle();
    await bench.pass(1_100);
    assert.equal(bench.stream.indexes.frontier, batch.first + batch.count, 'it may still be waited for');
    assert.ok(bench.last.first >= batch.first + batch.count, 'an index was used twice');
    assert.notEqual(bench.last, batch);
    assert.equal(waiting.index, undefined);
  });
});

describe('an initiator whose source is missing', () => {
  const degradedAfter = async (...reasons: ErrorReason[]) => {
    await bench.get();
    for (const reason of reasons) {
      await bench.fails(bench.last, reason);
      await bench.pass(1_100);
    }
    return bench.last.standIn;
  };

  it('lets the seed stand in for QKD at once where no key came', async () => {
    assert.equal(await degradedAfter('QKD_UNAVAILABLE'), 1);
  });

  it('reopens a QKD stream that has lost step before it counts as missing', async () => {
    assert.equal(await degradedAfter('QKD_OUT_OF_STEP'), undefined);
    bench = new ProducerBench(['ML-KEM-768', 'QKD']);
    assert.equal(await degradedAfter('QKD_OUT_OF_STEP', 'QKD_OUT_OF_STEP'), 1);
  });

  it('forgets a loss of step once QKD has given keys again', async () => {
    await bench.get();
    await bench.fails(bench.last, 'QKD_OUT_OF_STEP');
    await bench.pass(60);
    await bench.succeeds(bench.last);
    await bench.get(bench.stream.indexes.frontier);
    const again = bench.last;
    await bench.fails(again, 'QKD_OUT_OF_STEP');
    await bench.pass(60);
    assert.notEqual(bench.last, again);
    assert.equal(bench.last.standIn, undefined);
  });

  it('never lets it stand in for a source that gives faulty keys', async () => {
    const waiting = await bench.get();
    for (let i = 0; i < 2; i++) {
      await bench.fails(bench.last, 'SOURCE_FAULT', 'slots 1 and 2 gave the same secret');
      await bench.pass(1_100);
    }
    assert.equal(bench.last.standIn, undefined);
    assert.ok(isReason(waiting.error, 'SOURCE_FAULT'));
    assert.equal(bench.faults.total, 2);
  });

  it('lets nothing stand in where the list is not of QKD and one KEM', async () => {
    for (const sources of [['QKD'], ['QKD', 'QKD'], ['ML-KEM-768', 'QKD', 'ML-KEM-768']]) {
      bench = new ProducerBench(sources);
      assert.equal(await degradedAfter('QKD_UNAVAILABLE'), undefined, `${sources}`);
      bench.producer.stop();
    }
  });
});
