import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ProducerBench } from '#test/helpers/producer-bench.ts';
import { answerOf } from '#test/helpers/streams.ts';
import type { Batch } from '../batch.ts';
import type { InitiatorProducer, ProducerState } from './initiator-producer.ts';

/** An initiator whose batches begin when the test says so, and whose key manager answers then. */
class Bench extends ProducerBench {
  opening = Promise.withResolvers<string>();
  readonly batches: Batch<InitiatorProducer>[] = [];

  constructor(keySources: readonly string[]) {
    super(keySources, {
      join: 'ksid',
      maxBlockKeys: 16,
      stream: { allowDegraded: false, maxPrefetchChunks: 256, maxBufferedChunks: 256 },
    });
    this.held = true;
    this.open = () => {
      this.opening = Promise.withResolvers();
      return this.opening.promise;
    };
  }

  begin(): void {
    this.batches.push(this.producer.begin(2));
  }

  /** The batch that was begun last, or the one before. */
  at(back = -1): Batch<InitiatorProducer> {
    return this.batches.at(back) as Batch<InitiatorProducer>;
  }
}

/** What happens to a producer, by name. */
const MOVES: Readonly<Record<string, (bench: Bench) => unknown>> = {
  wanted: ({ producer }) => producer.want(2),
  'key manager answers': ({ opening }) => opening.resolve('qkd'),
  'key manager refuses': ({ opening }) => opening.reject(new KeyweaveError('QKD_UNAVAILABLE', 'no link')),
  begun: (bench) => bench.begin(),
  answered: (bench) => bench.producer.answered(bench.at(), answerOf(2)),
  confirmed: (bench) => bench.confirmed(bench.at()),
  'older one confirmed': (bench) => bench.confirmed(bench.at(-2)),
  refused: (bench) => bench.fails(bench.at(), 'AGREEMENT_FAILED'),
  'refused for lack of room': (bench) => bench.fails(bench.at(), 'NO_ROOM'),
  'fails late': (bench) => bench.failsLate(bench.at(), 'AGREEMENT_FAILED'),
  'older one fails late': (bench) => bench.failsLate(bench.at(-2), 'AGREEMENT_FAILED'),
  'peer cannot be reached': ({ producer }) =>
    producer.refuse(new KeyweaveError('PEER_UNREACHABLE', 'no way there')),
  'pause over': (bench) => bench.pass(52),
  'epoch left': ({ producer }) => producer.qkd.renew(),
  stopped: ({ producer }) => producer.stop(),
};

type Path = readonly (readonly [move: string, state: ProducerState])[];

const opened: Path = [
  ['wanted', 'preparing'],
  ['key manager answers', 'ready'],
];
const agreed: Path = [
  ['begun', 'offering'],
  ['answered', 'ready'],
];

const TABLE: readonly [name: string, sources: readonly string[], begins: ProducerState, path: Path][] = [
  ['needs no preparation without QKD', ['ML-KEM-768'], 'ready', [['begun', 'offering']]],
  [
    'offers the next batch while one waits for confirmation, and no third',
    ['ML-KEM-768'],
    'ready',
    [...agreed, ['begun', 'offering'], ['answered', 'confirming'], ['older one confirmed', 'ready']],
  ],
  [
    'has the next one wait that is offered when two wait',
    ['ML-KEM-768'],
    'ready',
    [...agreed, ...agreed.slice(0, 1), ['answered', 'confirming'], ['stopped', 'stopped']],
  ],
  ['opens its QKD stream first, when it is wanted', ['QKD', 'QKD'], 'unprepared', [...opened, ...agreed]],
  [
    'goes on where both ends have released a batch',
    ['QKD', 'QKD'],
    'unprepared',
    [...opened, ...agreed, ['confirmed', 'ready']],
  ],
  [
    'tries to open again after a pause',
    ['QKD', 'QKD'],
    'unprepared',
    [
      ['wanted', 'preparing'],
      ['key manager refuses', 'paused'],
      ['wanted', 'paused'],
      ['pause over', 'preparing'],
      ['key manager answers', 'ready'],
    ],
  ],
  [
    'opens anew after a batch that was refused, since the ends may have lost step',
    ['QKD', 'QKD'],
    'unprepared',
    [
      ...opened,
      ['begun', 'offering'],
      ['refused', 'paused'],
      ['pause over', 'preparing'],
      ['key manager answers', 'ready'],
    ],
  ],
  [
    'opens anew after a batch that failed late',
    ['QKD', 'QKD'],
    'unprepared',
    [...opened, ...agreed, ['fails late', 'paused'], ['pause over', 'preparing']],
  ],
  [
    'keeps its QKD stream where the other end had no room',
    ['QKD', 'QKD'],
    'unprepared',
    [
      ...opened,
      ['begun', 'offering'],
      ['refused for lack of room', 'paused'],
      ['pause over', 'ready'],
      ['begun', 'offering'],
    ],
  ],
  [
    'is still offering when an older batch fails, and then has to pause',
    ['ML-KEM-768'],
    'ready',
    [
      ...agreed,
      ['begun', 'offering'],
      ['older one fails late', 'offering'],
      ['answered', 'paused'],
      ['pause over', 'ready'],
    ],
  ],
  [
    'pauses where the peer cannot be reached',
    ['ML-KEM-768'],
    'ready',
    [
      ['peer cannot be reached', 'paused'],
      ['peer cannot be reached', 'paused'],
      ['pause over', 'ready'],
    ],
  ],
  [
    'prepares the next epoch at once where it leaves one that is being prepared',
    ['QKD', 'QKD'],
    'unprepared',
    [
      ['wanted', 'preparing'],
      ['epoch left', 'unprepared'],
      ['wanted', 'preparing'],
      ['key manager answers', 'ready'],
    ],
  ],
  [
    'is stopped for good while it offers',
    ['ML-KEM-768'],
    'ready',
    [
      ['begun', 'offering'],
      ['stopped', 'stopped'],
      ['answered', 'stopped'],
      ['confirmed', 'stopped'],
      ['wanted', 'stopped'],
    ],
  ],
  [
    'is stopped for good while it prepares',
    ['QKD', 'QKD'],
    'unprepared',
    [
      ['wanted', 'preparing'],
      ['stopped', 'stopped'],
      ['key manager answers', 'stopped'],
    ],
  ],
  [
    'is stopped for good while it pauses',
    ['ML-KEM-768'],
    'ready',
    [
      ['begun', 'offering'],
      ['refused', 'paused'],
      ['stopped', 'stopped'],
      ['pause over', 'stopped'],
      ['peer cannot be reached', 'stopped'],
    ],
  ],
];

describe('an initiator as a producer', () => {
  let bench: Bench;

  afterEach(() => bench.producer.stop());

  for (const [name, sources, begins, path] of TABLE) {
    it(name, async () => {
      bench = new Bench(sources);
      assert.equal(bench.producer.state, begins);
      for (const [i, [move, state]] of path.entries()) {
        await MOVES[move]?.(bench);
        await bench.settle();
        assert.equal(bench.producer.state, state, `after step ${i + 1}, ${move}`);
        assert.equal(bench.producer.stopped, state === 'stopped');
        if (state !== 'ready') assert.equal(bench.producer.offerable, 0, `offers while ${state}`);
      }
    });
  }

  it('offers what is wanted when it is ready, up to the limit of a batch', async () => {
    bench = new Bench(['HQC-128']);
    assert.equal(bench.producer.offerable, 0);
    for (const [wanted, offerable] of [
      [3, 3],
      [8, 8],
      [9, 8],
    ] as const) {
      bench.producer.want(wanted);
      assert.equal(bench.producer.offerable, offerable);
    }
  });

  it('ends its epoch with the last batch of it where blocks change their size', async () => {
    bench = new Bench(['QKD', 'QKD']);
    const { producer } = bench;
    for (const [move] of [...opened, ...agreed.slice(0, 1)]) {
      await MOVES[move]?.(bench);
      await bench.settle();
    }
    producer.answered(bench.at(), { ...answerOf(2), qkdBlockKeys: 16 });
    assert.equal(producer.state, 'ready');
    producer.qkd.noteBlockBytes(16 * 32);
    await bench.readFast();
    assert.equal(producer.state, 'confirming', 'the epoch has ended, and its last batch has not');
    await bench.confirmed(bench.at());
    assert.deepEqual([producer.state, producer.qkd.blockKeys], ['preparing', 16]);
  });
});
