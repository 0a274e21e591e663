import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ProducerBench } from '#test/helpers/producer-bench.ts';

let bench: ProducerBench;

beforeEach(() => {
  bench = new ProducerBench(['ML-KEM-768', 'QKD']);
});
afterEach(() => {
  bench.producer.stop();
});

const wants = async (count: number) => {
  bench.producer.want(count);
  await bench.settle();
};

const gone = () => Promise.reject(new KeyweaveError('QKD_UNAVAILABLE', 'no key manager'));
const positions = () => bench.begun.map(({ qkd }) => [qkd?.epoch, qkd?.position]);

describe('an initiator of a stream with QKD', () => {
  it('has both ends open its QKD keys before any batch, once', async () => {
    const opened = Promise.withResolvers<string>();
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { join: 'ksid' });
    bench.keys.onOpen = () => opened.promise;
    await wants(1);
    await wants(2);
    assert.deepEqual([bench.keys.opened.length, bench.announced, bench.begun], [1, [], []]);
    const ready = Promise.withResolvers<void>();
    bench.onAnnounce = async () => {
      await ready.promise;
      return { failure: undefined, blockKeys: 0 };
    };
    opened.resolve('shared');
    await bench.settle();
    assert.deepEqual(
      bench.announced.map(({ epoch, qkdKeyStreamId, position }) => [epoch, qkdKeyStreamId, position]),
      [[0, 'shared', 0n]],
    );
    assert.equal(bench.begun.length, 0, 'a batch was offered before the other end was ready');
    ready.resolve();
    await bench.settle();
    assert.deepEqual([bench.last.count, bench.last.qkd?.qkdKeyStreamId], [2, 'shared']);
    assert.equal(bench.announced.length, 1);
  });

  it('begins in an epoch that an earlier stream of the KSID did not have, where streams do not share', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], {
      sharing: 'stream',
      stream: { incarnation: Buffer.from('0102030405060708', 'hex') },
    });
    await wants(1);
    assert.deepEqual(
      bench.keys.opened.map(({ epoch, keyStreamId }) => [epoch, keyStreamId]),
      [[0x010203, bench.stream.idBytes]],
    );
    assert.deepEqual(bench.last.qkd?.reservoir, bench.stream.idBytes);
    bench.producer.stop();
    await bench.settle();
    assert.deepEqual(
      bench.keys.closed.map(({ epoch }) => epoch),
      [0x010203],
    );
  });

  it('asks the key manager again after a pause, and says what it says to those who wait', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { stream: { allowDegraded: false } });
    bench.keys.onOpen = gone;
    const waiting = await bench.get();
    assert.equal(bench.keys.opened.length, 1);
    await wants(2);
    assert.equal(bench.keys.opened.length, 1, 'it was asked again during the pause');
    await bench.pass(51);
    assert.equal(bench.keys.opened.length, 2);
    assert.match(`${waiting.error}`, /QKD_UNAVAILABLE: no key manager/);
    assert.equal(bench.stream.indexes.frontier, 0, 'indexes were used up though nothing was offered');
    await bench.pass(2_000);
    assert.equal(bench.keys.opened.length, 2, 'it is asked for nobody');
  });

  it('makes one degraded batch of what is lacking where the policy allows it, without QKD keys', async () => {
    bench.keys.onOpen = gone;
    const waiting = await bench.get();
    assert.deepEqual([bench.begun.length, bench.last.standIn, bench.last.qkd], [1, 1, undefined]);
    await bench.succeeds(bench.last);
    assert.deepEqual([waiting.degraded, waiting.error], [true, undefined]);
  });

  it('marks no other chunk as degraded', async () => {
    const waiting = await bench.get();
    await bench.succeeds(bench.last);
    assert.equal(waiting.degraded, false);
  });

  it('makes as much as is lacking once the key manager has come back', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { join: 'ksid', stream: { allowDegraded: false } });
    bench.keys.onOpen = () => {
      bench.keys.onOpen = async () => 'again';
      return gone();
    };
    await wants(1);
    await bench.pass(60);
    assert.deepEqual([bench.last.count, bench.last.qkd?.qkdKeyStreamId], [1, 'again']);
  });

  it('tells those who wait that the keys have run dry, and makes batches of what there is', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { stream: { allowDegraded: false } });
    bench.keys.left = 1;
    const waiting = [await bench.get(), await bench.get()];
    await bench.succeeds(bench.last);
    assert.equal(waiting[0]?.index, 0);
    await bench.pass(5_000);
    assert.match(
      `${waiting[1]?.error}`,
      /INSUFFICIENT_KEY: 1 stream waits for QKD keys, and the key manager of this node has given none for 1 s/,
    );
  });

  it('lets the shared_seed stand in for keys that have run dry, and takes QKD keys again when they come', async () => {
    bench.keys.left = 0;
    await bench.get();
    await bench.pass(1_600);
    assert.deepEqual([bench.last.standIn, bench.last.grant], [1, undefined]);
    await bench.succeeds(bench.last);
    bench.keys.left = 100;
    await bench.get();
    await bench.pass(600);
    assert.deepEqual([bench.last.standIn, bench.last.qkd?.position], [undefined, 0n]);
  });

  it('hands back the keys that it has where the next batch does without them', async () => {
    bench.held = true;
    await wants(2);
    assert.equal(bench.producer.offerable, 2);
    bench.producer.refuse(new KeyweaveError('PEER_UNREACHABLE', 'no way there'));
    assert.ok(bench.reservoir.held >= 2);
  });

  it('keeps its epoch where a batch without QKD keys fails', async () => {
    await wants(1);
    await bench.fails(bench.last, 'QKD_UNAVAILABLE');
    assert.equal(bench.last.standIn, 1);
    await bench.fails(bench.last, 'AGREEMENT_FAILED');
    await wants(1);
    await bench.pass(1_100);
    assert.deepEqual([bench.last.standIn, bench.last.qkd?.epoch], [undefined, 1]);
  });

  it('begins each batch where the one before ends', async () => {
    bench = new ProducerBench(['QKD', 'ML-KEM-768', 'QKD']);
    await wants(3);
    bench.answers(bench.last, { count: 2 });
    await wants(1);
    assert.deepEqual(positions(), [
      [0, 0n],
      [0, 4n],
    ]);
  });

  it('gives the keys of a batch that nobody has used to the next one, and burns those that somebody may have', async () => {
    bench = new ProducerBench(['QKD', 'QKD'], { stream: { allowDegraded: false } });
    await wants(3);
    await bench.fails(bench.last, 'NO_ROOM');
    await bench.pass(60);
    await wants(3);
    await bench.fails(bench.last, 'UNSUPPORTED', 'words', 4);
    await bench.pass(1_100);
    assert.deepEqual(positions(), [
      [0, 0n],
      [0, 0n],
      [0, 4n],
    ]);
    assert.equal(bench.last.qkd?.burned, 4n);
  });

  it('leaves the epoch of a batch that failed, once for all batches of it, which count as one failure', async () => {
    await wants(1);
    bench.answers(bench.last);
    await wants(1);
    bench.answers(bench.last);
    const [first, second] = bench.begun as [never, never];
    await bench.failsLate(first, 'AGREEMENT_FAILED');
    await bench.failsLate(second, 'AGREEMENT_FAILED');
    const waiting = await bench.get();
    await bench.pass(1_100);
    assert.deepEqual([bench.last.qkd?.epoch, bench.last.qkd?.position], [1, 0n]);
    assert.deepEqual(waiting, {});
    assert.equal(bench.announced.length, 2);
  });

  it('starts a new epoch at its first key, though a batch of the old one was still on its way', async () => {
    await wants(1);
    const first = bench.last;
    bench.answers(first);
    await wants(1);
    const second = bench.last;
    assert.notEqual(first, second);
    await bench.failsLate(first, 'QKD_OUT_OF_STEP');
    bench.answers(second);
    await bench.failsLate(second, 'QKD_OUT_OF_STEP');
    await bench.pass(60);
    assert.notEqual(bench.last, second);
    assert.equal(bench.last.standIn, undefined);
    assert.deepEqual([bench.last.qkd?.epoch, bench.last.qkd?.position], [1, 0n]);
  });

  it('has the seed stand in where the next epoch cannot be opened, until it can', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { join: 'ksid' });
    await wants(1);
    const first = bench.last;
    bench.answers(first);
    const old = Promise.withResolvers<string>();
    bench.keys.onOpen = () => old.promise;
    await bench.failsLate(first, 'QKD_OUT_OF_STEP');
    await bench.pass(60);
    assert.equal(bench.keys.opened.at(-1)?.epoch, 1);
    bench.keys.onOpen = async () => 'new';
    old.reject(new KeyweaveError('QKD_UNAVAILABLE', 'gone'));
    await bench.pass(1_100);
    assert.equal(bench.last.standIn, 1);
    await bench.succeeds(bench.last);
    await wants(1);
    await bench.pass(1_100);
    assert.deepEqual([bench.last.qkd?.qkdKeyStreamId, bench.last.standIn], ['new', undefined]);
  });

  it('leaves the keys of its link to others at its end, and opens none afterwards', async () => {
    await wants(1);
    bench.producer.stop();
    await bench.settle();
    assert.deepEqual(bench.keys.closed, []);
    await wants(1);
    assert.equal(bench.begun.length, 1);
    await bench.pass(61_000);
    assert.equal(bench.keys.closed.length, 1, 'an idle link keeps its stream at the key manager');
    bench = new ProducerBench(['ML-KEM-768', 'QKD']);
    bench.producer.stop();
    await wants(1);
    assert.equal(bench.keys.opened.length, 0);
  });

  it('hands back the keys of its next batch at its end', async () => {
    bench.held = true;
    await wants(4);
    assert.equal(bench.producer.offerable, 4);
    const { reservoir } = bench;
    const { held } = reservoir;
    bench.producer.stop();
    bench.producer.stop();
    assert.equal(reservoir.held, held + 4);
  });

  it('hands back the keys of a batch for which a round had no room', async () => {
    bench.held = true;
    await wants(2);
    const { held } = bench.reservoir;
    bench.producer.passed();
    assert.equal(bench.reservoir.held, held + 2);
    assert.equal(bench.producer.state, 'waiting');
  });

  it('takes keys for no more chunks than a batch has', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], {
      maxBatchChunks: 8,
      stream: { maxBufferedChunks: 100, maxPrefetchChunks: 100 },
    });
    await wants(50);
    assert.equal(bench.last.grant?.keys.length, 8 * 32);
    bench.answers(bench.last, { most: 5 });
    await wants(50);
    assert.equal(bench.last.grant?.keys.length, 5 * 32);
  });

  it('gives the keys beyond a smaller batch to the next one', async () => {
    bench.held = true;
    await wants(6);
    const batch = bench.producer.begin(2);
    assert.equal(batch.grant?.keys.length, 2 * 32);
    bench.answers(batch);
    bench.held = false;
    await wants(3);
    assert.deepEqual(positions(), [[0, 2n]]);
  });

  it('makes nothing ahead of a stream that has not been read, nor of one whose keys are scarce', async () => {
    bench.stream.refill();
    await bench.settle();
    assert.deepEqual([bench.begun.length, bench.keys.fetches.length], [0, 0]);
    await bench.readFast();
    bench.keys.left = 3;
    bench.stream.refill();
    await bench.settle();
    const ahead = bench.begun.length;
    assert.ok(ahead > 0, 'a stream that is read fast has nothing made ahead');
    await bench.succeeds(bench.last);
    while (bench.stream.buffer.take());
    bench.keys.left = 100;
    bench.stream.refill();
    await bench.settle();
    assert.equal(bench.begun.length, ahead, 'it weaves ahead what belongs to those who ask');
  });
});
