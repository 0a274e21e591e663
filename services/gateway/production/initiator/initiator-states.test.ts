import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { ProducerBench } from '#test/helpers/producer-bench.ts';
import type { Batch } from '../batch.ts';
import type { InitiatorProducer, ProducerState } from './initiator-producer.ts';

/** An initiator whose batches begin when the test says so, and whose key manager answers then. */
class Bench extends ProducerBench {
  opening = Promise.withResolvers<string>();
  readonly batches: Batch<InitiatorProducer>[] = [];

  constructor(keySources: readonly string[]) {
    super(keySources, {
      join: 'ksid',
      stream: { allowDegraded: false, maxPrefetchChunks: 256, maxBufferedChunks: 256 },
    });
    this.held = true;
    this.keys.onOpen = () => {
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
  answered: (bench) => bench.answers(bench.at()),
  confirmed: (bench) => bench.confirmed(bench.at()),
  'older one confirmed': (bench) => bench.confirmed(bench.at(-2)),
  refused: (bench) => bench.fails(bench.at(), 'AGREEMENT_FAILED'),
  'refused for lack of room': (bench) => bench.fails(bench.at(), 'NO_ROOM'),
  'fails late': (bench) => bench.failsLate(bench.at(), 'AGREEMENT_FAILED'),
  'older one fails late': (bench) => bench.failsLate(bench.at(-2), 'AGREEMENT_FAILED'),
  'peer cannot be reached': ({ producer }) =>
    producer.refuse(new KeyweaveError('PEER_UNREACHABLE', 'no way there')),
  'pause over': (bench) => bench.pass(52),
  stopped: ({ producer }) => producer.stop(),
};

type Path = readonly (readonly [move: string, state: ProducerState])[];

const granted: Path = [
  ['wanted', 'waiting'],
  ['key manager answers', 'ready'],
];
/** Without QKD keys, and with them. */
const agreed: Path = [
  ['begun', 'offering'],
  ['answered', 'ready'],
];
const used: Path = [
  ['begun', 'offering'],
  ['answered', 'waiting'],
];

const TABLE: readonly [name: string, sources: readonly string[], begins: ProducerState, path: Path][] = [
  ['needs nothing first without QKD', ['ML-KEM-768'], 'ready', [['begun', 'offering']]],
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
  ['waits for its QKD keys, when it is wanted', ['QKD', 'QKD'], 'waiting', [...granted, ...used]],
  [
    'has the keys of the next batch at once where the key manager has been opened',
    ['QKD', 'QKD'],
    'waiting',
    [...granted, ...used, ['wanted', 'ready'], ['begun', 'offering'], ['answered', 'confirming']],
  ],
  [
    'goes on offering where both ends have released an older batch',
    ['QKD', 'QKD'],
    'waiting',
    [...granted, ...used, ['wanted', 'ready'], ...used.slice(0, 1), ['older one confirmed', 'offering']],
  ],
  [
    'asks for keys again after a pause',
    ['QKD', 'QKD'],
    'waiting',
    [
      ['wanted', 'waiting'],
      ['key manager refuses', 'paused'],
      ['wanted', 'paused'],
      ['pause over', 'waiting'],
      ['key manager answers', 'ready'],
    ],
  ],
  [
    'waits for keys of a new epoch after a batch that was refused, since the ends may have lost step',
    ['QKD', 'QKD'],
    'waiting',
    [
      ...granted,
      ['begun', 'offering'],
      ['refused', 'paused'],
      ['pause over', 'waiting'],
      ['key manager answers', 'ready'],
    ],
  ],
  [
    'waits for keys of a new epoch after a batch that failed late',
    ['QKD', 'QKD'],
    'waiting',
    [
      ...granted,
      ...used,
      ['fails late', 'paused'],
      ['wanted', 'paused'],
      ['pause over', 'waiting'],
      ['key manager answers', 'ready'],
    ],
  ],
  [
    'has the same keys again where the other end had no room',
    ['QKD', 'QKD'],
    'waiting',
    [
      ...granted,
      ['begun', 'offering'],
      ['refused for lack of room', 'paused'],
      ['pause over', 'waiting'],
      ['wanted', 'ready'],
      ['begun', 'offering'],
    ],
  ],
  [
    'has the same keys again once the peer can be reached',
    ['QKD', 'QKD'],
    'waiting',
    [...granted, ['peer cannot be reached', 'paused'], ['pause over', 'ready']],
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
    'is stopped for good while it waits',
    ['QKD', 'QKD'],
    'waiting',
    [
      ['wanted', 'waiting'],
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

  it('offers no more than it has QKD keys for, each chunk with all of its own', async () => {
    bench = new Bench(['QKD', 'QKD']);
    bench.keys.left = 7;
    bench.producer.want(5);
    assert.equal(bench.producer.offerable, 0);
    bench.opening.resolve('qkd');
    await bench.settle();
    assert.equal(bench.producer.offerable, 3);
    bench.producer.want(2);
    assert.equal(bench.producer.offerable, 2);
    assert.equal(bench.producer.begin(2).grant?.keys.length, 4 * 32);
  });

  it('releases no batch behind a later one, whatever the other end says of it', async () => {
    bench = new Bench(['ML-KEM-768']);
    bench.producer.want(2);
    for (let i = 0; i < 2; i++) {
      bench.begin();
      bench.answers(bench.at());
    }
    await bench.confirmed(bench.at());
    const { buffer, indexes } = bench.stream;
    const there = buffer.size;
    const keys = await bench.confirmed(bench.at(-2));
    assert.ok(keys.every((byte) => byte === 0));
    assert.equal(buffer.size, there);
    assert.equal(indexes.wasReleased(bench.at(-2).first), false);
    assert.equal(indexes.frontier, indexes.next, 'its indexes are burned');
    assert.equal(buffer.take()?.index, bench.at().first);
  });
});
