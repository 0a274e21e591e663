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

describe('an initiator of a stream with QKD', () => {
  it('opens the QKD stream once, before any batch, in an epoch that an earlier stream of the KSID did not have', async () => {
    const opened = Promise.withResolvers<string>();
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], {
      join: 'ksid',
      stream: { incarnation: Buffer.from('0102030405060708', 'hex') },
    });
    bench.open = () => opened.promise;
    await wants(1);
    await wants(2);
    assert.deepEqual(
      bench.opened.map(({ epoch }) => epoch),
      [0x010203],
    );
    assert.equal(bench.begun.length, 0);
    opened.resolve('shared');
    await bench.settle();
    assert.deepEqual([bench.last.count, bench.last.qkd?.qkdKeyStreamId], [2, 'shared']);
  });

  it('lets the other end open by URIs where its own key manager waits for it', async () => {
    bench.open = () => new Promise(() => undefined);
    await wants(1);
    assert.equal(bench.begun.length, 1);
    assert.equal(bench.producer.qkd.isOpen, false);
  });

  it('asks the key manager again after a pause, and says what it says to those who wait', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], {
      join: 'ksid',
      stream: { allowDegraded: false },
    });
    bench.open = gone;
    const waiting = await bench.get();
    assert.equal(bench.opened.length, 1);
    await wants(2);
    assert.equal(bench.opened.length, 1, 'it was asked again during the pause');
    await bench.pass(51);
    assert.equal(bench.opened.length, 2);
    assert.match(`${waiting.error}`, /QKD_UNAVAILABLE: no key manager/);
    assert.equal(bench.stream.indexes.frontier, 0, 'indexes were used up though nothing was offered');
    await bench.pass(2_000);
    assert.equal(bench.opened.length, 2, 'it is asked for nobody');
  });

  it('makes one degraded batch of what is lacking where the policy allows it, without QKD keys', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { join: 'ksid' });
    bench.open = gone;
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
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], {
      join: 'ksid',
      stream: { allowDegraded: false },
    });
    bench.open = () => {
      bench.open = async () => 'again';
      return gone();
    };
    await wants(1);
    await bench.pass(51);
    assert.deepEqual([bench.last.count, bench.last.qkd?.qkdKeyStreamId], [1, 'again']);
  });

  it('counts as one loss of step what several asked for', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { join: 'ksid' });
    const lost = Promise.withResolvers<never>();
    bench.open = () => lost.promise;
    await wants(1);
    await wants(2);
    bench.open = async () => 'again';
    lost.reject(new KeyweaveError('QKD_OUT_OF_STEP', 'lost'));
    await bench.settle();
    assert.deepEqual([bench.begun.length, bench.last.standIn], [1, undefined]);
  });

  it('offers nothing of an epoch whose stream is not open yet, though it is asked', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { join: 'ksid' });
    await wants(1);
    const first = bench.last;
    bench.answers(first);
    bench.held = true;
    await wants(1);
    assert.equal(bench.producer.offerable, 1);
    bench.open = () => new Promise(() => undefined);
    await bench.failsLate(first, 'QKD_OUT_OF_STEP');
    assert.equal(bench.producer.offerable, 0);
  });

  it('leaves the QKD stream where it is when a batch without QKD keys fails', async () => {
    await wants(1);
    await bench.fails(bench.last, 'QKD_UNAVAILABLE');
    assert.equal(bench.last.standIn, 1);
    const { epoch } = bench.producer.qkd;
    await bench.fails(bench.last, 'AGREEMENT_FAILED');
    assert.equal(bench.producer.qkd.epoch, epoch);
  });

  it('closes it with the stream, and opens none afterwards', async () => {
    await wants(1);
    const { epoch } = bench.producer.qkd;
    bench.producer.stop();
    await bench.settle();
    assert.deepEqual(bench.closed, [epoch]);
    bench = new ProducerBench(['ML-KEM-768', 'QKD']);
    bench.producer.stop();
    await wants(1);
    assert.equal(bench.opened.length, 0);
  });

  it('begins each batch where the one before ends', async () => {
    bench = new ProducerBench(['QKD', 'ML-KEM-768', 'QKD']);
    await wants(3);
    bench.answers(bench.last, { count: 2 });
    await wants(1);
    assert.deepEqual(
      bench.begun.map(({ qkd }) => qkd?.position),
      [0n, 4n],
    );
  });

  it('leaves the epoch of a batch that failed, once for all batches of it, which count as one failure', async () => {
    await wants(1);
    bench.answers(bench.last);
    await wants(1);
    bench.answers(bench.last);
    const [first, second] = bench.begun as [never, never];
    const epoch = bench.producer.qkd.epoch;
    await bench.failsLate(first, 'AGREEMENT_FAILED');
    await bench.failsLate(second, 'AGREEMENT_FAILED');
    assert.equal(bench.producer.qkd.epoch, epoch + 1);
    const waiting = await bench.get();
    await bench.pass(1_100);
    assert.equal(bench.last.qkd?.epoch, epoch + 1);
    assert.deepEqual(waiting, {});
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
    await bench.settle();
    assert.notEqual(bench.last, second);
    assert.equal(bench.last.standIn, undefined);
    assert.equal(bench.last.qkd?.position, 0n);
  });

  it('opens the stream of an epoch that has begun while the one before was being opened', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { join: 'ksid' });
    const answers: PromiseWithResolvers<string>[] = [];
    bench.open = () => {
      const answer = Promise.withResolvers<string>();
      answers.push(answer);
      return answer.promise;
    };
    await wants(1);
    bench.producer.qkd.renew();
    answers[0]?.resolve('old');
    await bench.settle();
    assert.equal(bench.begun.length, 0, 'a batch was offered of an epoch whose stream nobody has opened');
    answers[1]?.resolve('new');
    await bench.settle();
    assert.equal(bench.last.qkd?.qkdKeyStreamId, 'new');
  });

  it('takes nothing amiss of an epoch that was left while it was being opened', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], { join: 'ksid' });
    const old = Promise.withResolvers<string>();
    bench.open = ({ epoch }) => (epoch === bench.opened[0]?.epoch ? old.promise : Promise.resolve('new'));
    await wants(1);
    bench.producer.qkd.renew();
    old.reject(new KeyweaveError('QKD_UNAVAILABLE', 'gone'));
    await bench.settle();
    assert.deepEqual([bench.last.qkd?.qkdKeyStreamId, bench.last.standIn], ['new', undefined]);
  });
});

describe('an initiator that reads QKD keys in blocks', () => {
  /** Both key managers give blocks of 16 keys, and the stream is fast. */
  async function inBlocks(keySources = ['ML-KEM-768', 'QKD'], join: 'uris' | 'ksid' = 'uris'): Promise<void> {
    bench = new ProducerBench(keySources, {
      maxBlockKeys: 16,
      join,
      stream: { maxBufferedChunks: 500, maxPrefetchChunks: 200 },
    });
    await bench.readFast();
    bench.producer.qkd.noteBlockBytes(64 * 32);
    await wants(1);
    await bench.succeeds(bench.last, { qkdBlockKeys: 16 });
    while (bench.stream.buffer.take());
  }

  it('begins blocks with a new epoch, once nothing of the old one is on its way', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], {
      maxBlockKeys: 16,
      stream: { maxBufferedChunks: 500, maxPrefetchChunks: 200 },
    });
    await bench.readFast();
    bench.producer.qkd.noteBlockBytes(64 * 32);
    await wants(3);
    const [first] = bench.begun as [never];
    bench.answers(first);
    await wants(1);
    const second = bench.last;
    bench.answers(second, { qkdBlockKeys: 16 });
    await wants(1);
    await bench.confirmed(first);
    assert.equal(bench.last, second, 'a batch was offered in an epoch that is about to end');
    assert.equal(bench.producer.qkd.blockKeys, 1);
    await bench.confirmed(second);
    await wants(1);
    assert.equal(bench.last.qkd?.blockKeys, 16);
    assert.equal(bench.last.qkd?.epoch, (second.qkd?.epoch ?? 0) + 1);
  });

  it('waits with blocks while a batch of single keys is being offered', async () => {
    bench = new ProducerBench(['ML-KEM-768', 'QKD'], {
      maxBlockKeys: 16,
      stream: { maxBufferedChunks: 500, maxPrefetchChunks: 200 },
    });
    await wants(1);
    const first = bench.last;
    bench.answers(first, { qkdBlockKeys: 16 });
    await wants(1);
    const second = bench.last;
    assert.notEqual(first, second);
    await bench.readFast();
    bench.producer.qkd.noteBlockBytes(64 * 32);
    await bench.confirmed(first);
    assert.equal(bench.producer.qkd.epoch, second.qkd?.epoch, 'the epoch of a batch under way was left');
  });

  it('takes whole blocks, at least one', async () => {
    await inBlocks();
    assert.equal(bench.producer.unit, 16);
    assert.equal(bench.last.count % 16, 0);
    await bench.succeeds(bench.last);
    const before = bench.begun.length;
    bench.stream.buffer.wipe();
    for (const wanted of [1, 40]) {
      const batch = bench.producer.begin(wanted);
      assert.equal(batch.count, wanted === 1 ? 16 : 32);
      await bench.succeeds(batch);
    }
    assert.ok(bench.begun.length >= before);
  });

  it('counts in chunks how much a block is: of several slots less, of what divides no block single ones', async () => {
    await inBlocks(['QKD', 'ML-KEM-768', 'QKD']);
    assert.equal(bench.producer.unit, 8);
    await inBlocks(['QKD', 'QKD', 'QKD']);
    assert.equal(bench.producer.qkd.blockKeys, 16);
    assert.equal(bench.producer.unit, 1);
  });

  it('has units of one where nothing takes QKD keys, and leaves block sizes alone', async () => {
    bench = new ProducerBench(['ML-KEM-768'], {
      maxBlockKeys: 16,
      stream: { maxBufferedChunks: 500, maxPrefetchChunks: 200 },
    });
    await bench.readFast();
    bench.producer.qkd.noteBlockBytes(64 * 32);
    await wants(1);
    const { epoch } = bench.producer.qkd;
    await bench.succeeds(bench.last, { qkdBlockKeys: 16 });
    assert.deepEqual([bench.producer.unit, bench.producer.qkd.epoch, bench.opened.length], [1, epoch, 0]);
  });

  it('goes back to single keys at once where a key manager gave no block after all, and is blamed for nothing', async () => {
    await inBlocks();
    const waiting = await bench.get();
    await bench.fails(bench.last, 'QKD_UNAVAILABLE');
    assert.deepEqual([bench.last.qkd?.blockKeys, bench.last.standIn], [1, undefined]);
    assert.deepEqual(waiting, {});
    await bench.succeeds(bench.last, { qkdBlockKeys: 16 });
    assert.equal(bench.producer.qkd.blockKeys, 1, 'blocks are tried again');
  });

  it('keeps to blocks where they are not to blame', async () => {
    await inBlocks();
    await bench.get();
    const offered = bench.begun.length;
    await bench.fails(bench.last, 'AGREEMENT_FAILED');
    assert.equal(bench.begun.length, offered, 'no pause');
    await bench.pass(1_100);
    assert.equal(bench.last.qkd?.blockKeys, 16);
  });

  it('goes on where its pace has changed while a batch failed', async () => {
    await inBlocks();
    await bench.get();
    const offered = bench.begun.length;
    await bench.pass(20_000);
    bench.stream.depth.noteGet(bench.clock.monotonicMs());
    await bench.fails(bench.last, 'AGREEMENT_FAILED');
    await bench.pass(1_100);
    assert.equal(bench.begun.length, offered + 1);
  });

  it('goes back to single keys where the key manager refuses a stream of blocks', async () => {
    await inBlocks(['ML-KEM-768', 'QKD'], 'ksid');
    const { blockKeys } = bench.producer.qkd;
    assert.equal(blockKeys, 16);
    bench.open = ({ keyBytes }) => (keyBytes > 32 ? gone() : Promise.resolve('single'));
    await bench.get();
    await bench.fails(bench.last, 'AGREEMENT_FAILED');
    await bench.pass(1_100);
    assert.deepEqual([bench.last.qkd?.blockKeys, bench.last.standIn], [1, undefined]);
    assert.equal(bench.last.qkd?.qkdKeyStreamId, 'single');
    await bench.succeeds(bench.last, { qkdBlockKeys: 16 });
    assert.equal(bench.producer.qkd.blockKeys, 1, 'blocks are tried again');
  });
});
