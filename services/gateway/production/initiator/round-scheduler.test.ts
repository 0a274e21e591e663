import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { type Clock, systemClock } from '#common/time/clock.ts';
import { slotOf } from '../../streams/stream-terms.ts';
import type { Batch } from '../batch.ts';
import type { InitiatorProducer } from './initiator-producer.ts';
import { RoundScheduler } from './round-scheduler.ts';

interface Wish {
  name: string;
  offerable: number;
  urgent?: boolean;
  /** How long it may wait; for ever where nothing is said and nobody waits. */
  patienceMs?: number;
  alone?: boolean;
  priority?: number;
  isLight?: boolean;
  sources?: readonly string[];
  keyChunkSize?: number;
}

/** What each round carried, and what ends its first half. */
let rounds: {
  carried: Record<string, number>;
  answer: (failure?: KeyweaveError) => void;
  finished: number;
}[];
let nowMs: number;
const clock: Clock = { ...systemClock, monotonicMs: () => nowMs };
let scheduler: RoundScheduler;

function producer(wish: Wish): InitiatorProducer {
  const { urgent = false, alone = false, priority = 0, isLight = true, keyChunkSize = 32 } = wish;
  const { patienceMs = Number.POSITIVE_INFINITY } = wish;
  const slots = (wish.sources ?? ['ML-KEM-768', 'QKD']).map(slotOf);
  const made = {
    ...{ urgent, patienceMs: urgent ? 0 : patienceMs, alone, isLight, weight: 1 + priority },
    stream: { terms: { slots }, qos: { priority, keyChunkSize } },
    get offerable() {
      return wish.offerable;
    },
    begin(count: number) {
      wish.offerable = Math.max(0, wish.offerable - count);
      return { producer: made, count } as unknown as Batch<InitiatorProducer>;
    },
    passed() {
      passed.push(wish.name);
    },
    refuse() {
      refusals.set(wish.name, (refusals.get(wish.name) ?? 0) + 1);
    },
  };
  names.set(made as unknown as InitiatorProducer, wish.name);
  return made as unknown as InitiatorProducer;
}

let names: Map<InitiatorProducer, string>;
/** Attempts of each stream that were not worth trying. */
let refusals: Map<string, number>;

/** Streams whose turn came when they had nothing to offer any more. */
let passed: string[];

beforeEach(() => {
  passed = [];
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  rounds = [];
  nowMs = 0;
  names = new Map();
  refusals = new Map();
  scheduler = new RoundScheduler((batches) => {
    const { promise, resolve } = Promise.withResolvers<KeyweaveError | undefined>();
    const carried = Object.fromEntries(
      batches.map((batch) => [names.get(batch.producer) ?? '', batch.count] as const),
    );
    const round = { carried, answer: resolve, finished: 0 };
    rounds.push(round);
    const finish = async () => {
      round.finished += 1;
    };
    return { offer: () => promise, finish };
  }, clock);
});

afterEach(() => mock.timers.reset());

const carried = () => rounds.map((round) => round.carried);
const turn = () => new Promise<void>((resolve) => queueMicrotask(() => queueMicrotask(resolve)));

describe('RoundScheduler', () => {
  it('puts what is asked for in one turn into one round', () => {
    for (const name of ['a', 'b', 'c']) scheduler.enqueue(producer({ name, offerable: 2, urgent: true }));
    mock.timers.tick(1);
    assert.deepEqual(carried(), [{ a: 2, b: 2, c: 2 }]);
  });

  it('lets what nobody waits for gather for a while, or until it is enough', () => {
    scheduler.enqueue(producer({ name: 'a', offerable: 5 }));
    mock.timers.tick(50);
    assert.deepEqual(carried(), []);
    scheduler.enqueue(producer({ name: 'b', offerable: 5 }));
    mock.timers.tick(50);
    assert.deepEqual(carried(), [{ a: 5, b: 5 }]);
    scheduler.enqueue(producer({ name: 'c', offerable: 200 }));
    mock.timers.tick(1);
    assert.deepEqual(carried()[1], { c: 200 });
  });

  it('shares a round between those who wait by priority, before those for whom nobody waits', () => {
    scheduler.enqueue(producer({ name: 'idle', offerable: 100 }));
    scheduler.enqueue(producer({ name: 'low', offerable: 1000, urgent: true }));
    scheduler.enqueue(producer({ name: 'high', offerable: 1000, urgent: true, priority: 2 }));
    mock.timers.tick(1);
    const [round] = carried();
    assert.equal(round?.high, 192);
    assert.equal(round?.low, 64);
    assert.equal(round?.idle, undefined);
  });

  it('gives who got nothing the next round, and has two rounds on their way at most', async () => {
    for (const name of ['a', 'b', 'c']) scheduler.enqueue(producer({ name, offerable: 256, urgent: true }));
    mock.timers.tick(1);
    for (const name of ['d', 'e']) scheduler.enqueue(producer({ name, offerable: 1, urgent: true }));
    mock.timers.tick(1);
    scheduler.enqueue(producer({ name: 'f', offerable: 1, urgent: true }));
    mock.timers.tick(1);
    assert.equal(rounds.length, 2);
    rounds[0]?.answer();
    await turn();
    mock.timers.tick(1);
    assert.equal(rounds.length, 3);
    assert.equal(carried()[2]?.f, 1);
    scheduler.enqueue(producer({ name: 'g', offerable: 1, urgent: true }));
    mock.timers.tick(1);
    assert.equal(rounds.length, 3, 'one answer made room for two rounds');
  });

  it('finishes each round once it is answered, whether it was shared or not', async () => {
    scheduler.enqueue(producer({ name: 'alone', offerable: 1, alone: true }));
    scheduler.enqueue(producer({ name: 'shared', offerable: 1, urgent: true }));
    mock.timers.tick(1);
    const finished = () => rounds.map((round) => round.finished);
    assert.deepEqual(finished(), [0, 0]);
    for (const round of rounds) round.answer();
    await turn();
    assert.deepEqual(finished(), [1, 1]);
  });

  it('starts with 64 chunks that are wanted, however often they are asked for', () => {
    const many = producer({ name: 'a', offerable: 40 });
    for (let i = 0; i < 3; i++) scheduler.enqueue(many);
    scheduler.enqueue(producer({ name: 'b', offerable: 23 }));
    mock.timers.tick(1);
    assert.deepEqual(carried(), []);
    scheduler.enqueue(producer({ name: 'c', offerable: 1 }));
    mock.timers.tick(1);
    assert.deepEqual(carried(), [{ a: 40, b: 23, c: 1 }]);
    scheduler.enqueue(producer({ name: 'd', offerable: 63 }));
    mock.timers.tick(1);
    assert.equal(rounds.length, 1, 'chunks were counted that are on their way');
  });

  it('lets what nobody waits for linger 100 ms from the first of them, whatever went before', async () => {
    const at = (ms: number, wish: Wish) => {
      mock.timers.tick(ms);
      scheduler.enqueue(producer(wish));
    };
    at(0, { name: 'a', offerable: 1 });
    at(50, { name: 'b', offerable: 1 });
    mock.timers.tick(50);
    assert.deepEqual(carried(), [{ a: 1, b: 1 }]);
    rounds[0]?.answer();
    await turn();
    at(20, { name: 'c', offerable: 1 });
    mock.timers.tick(99);
    assert.equal(rounds.length, 1);
    mock.timers.tick(1);
    assert.deepEqual(carried()[1], { c: 1 });
    rounds[1]?.answer();
    await turn();
    at(0, { name: 'd', offerable: 1 });
    at(60, { name: 'e', offerable: 1, urgent: true });
    mock.timers.tick(1);
    assert.deepEqual(carried()[2], { e: 1, d: 1 });
    at(0, { name: 'f', offerable: 1 });
    mock.timers.tick(99);
    assert.equal(rounds.length, 3);
    mock.timers.tick(1);
    assert.deepEqual(carried()[3], { f: 1 });
  });

  it('starts when the first of those who linger may wait no longer', async () => {
    scheduler.enqueue(producer({ name: 'a', offerable: 1, patienceMs: 70 }));
    mock.timers.tick(10);
    nowMs += 10;
    scheduler.enqueue(producer({ name: 'b', offerable: 1, patienceMs: 30 }));
    scheduler.enqueue(producer({ name: 'c', offerable: 1, patienceMs: 50 }));
    mock.timers.tick(29);
    assert.deepEqual(carried(), []);
    mock.timers.tick(1);
    assert.deepEqual(carried(), [{ a: 1, b: 1, c: 1 }]);
    nowMs += 30;
    rounds[0]?.answer();
    await turn();
    for (const name of ['d', 'e']) {
      scheduler.enqueue(producer({ name, offerable: 1, urgent: true }));
      mock.timers.tick(1);
    }
    scheduler.enqueue(producer({ name: 'f', offerable: 1, patienceMs: 20 }));
    rounds[1]?.answer();
    await turn();
    mock.timers.tick(19);
    assert.equal(rounds.length, 3);
    mock.timers.tick(1);
    assert.deepEqual(carried()[3], { f: 1 }, 'those that an answer finds waiting, too');
  });

  it('lets it linger after an answer, too', async () => {
    for (const name of ['a', 'b']) {
      scheduler.enqueue(producer({ name, offerable: 1, urgent: true }));
      mock.timers.tick(1);
    }
    scheduler.enqueue(producer({ name: 'c', offerable: 1 }));
    mock.timers.tick(500);
    rounds[0]?.answer();
    await turn();
    mock.timers.tick(99);
    assert.equal(rounds.length, 2);
    mock.timers.tick(1);
    assert.deepEqual(carried()[2], { c: 1 });
  });

  it('makes no round of streams that want nothing any more, nor of what they have not asked for', async () => {
    const [shared, alone]: Wish[] = [
      { name: 'shared', offerable: 1, urgent: true },
      { name: 'alone', offerable: 0, alone: true },
    ];
    scheduler.enqueue(producer(shared as Wish));
    (shared as Wish).offerable = 0;
    scheduler.enqueue(producer(alone as Wish));
    mock.timers.tick(1);
    assert.deepEqual(carried(), []);
    scheduler.enqueue(producer({ name: 'large', offerable: 300, urgent: true }));
    mock.timers.tick(1);
    rounds[0]?.answer();
    await turn();
    mock.timers.tick(200);
    assert.deepEqual(carried(), [{ large: 256 }]);
  });

  it('gives each of many who wait one chunk, so that as many as possible get one', () => {
    for (let i = 0; i < 300; i++) scheduler.enqueue(producer({ name: `${i}`, offerable: 2, urgent: true }));
    mock.timers.tick(1);
    assert.equal(Object.keys(carried()[0] ?? {}).length, 256);
  });

  it('tells those whose turn comes when they have nothing to offer any more', () => {
    const wish = { name: 'full', offerable: 4, urgent: true };
    scheduler.enqueue(producer(wish));
    wish.offerable = 0;
    mock.timers.tick(1);
    assert.deepEqual([rounds.length, passed], [0, ['full']]);
  });

  it('makes a stream alone once, though it has asked twice, in no hurry and then in a hurry', async () => {
    for (let i = 0; i < 32; i++) scheduler.enqueue(producer({ name: `${i}`, offerable: 1, alone: true }));
    for (const hurry of [
      [false, true],
      [true, false],
    ]) {
      const wish: Wish = { name: `${hurry}`, offerable: 1, alone: true };
      const one = producer(wish) as { urgent: boolean } & InitiatorProducer;
      for (const urgent of hurry) {
        Object.assign(one, { urgent });
        scheduler.enqueue(one);
      }
      Object.defineProperty(one, 'offerable', { value: 1 });
    }
    for (const round of rounds.slice(0, 32)) round.answer();
    await turn();
    assert.equal(rounds.length, 34);
  });

  it('makes the rounds of slow or troubled streams alone, at once, however many others are on their way', () => {
    for (const name of ['a', 'b']) {
      scheduler.enqueue(producer({ name, offerable: 1, urgent: true }));
      mock.timers.tick(1);
    }
    scheduler.enqueue(producer({ name: 'slow', offerable: 1, alone: true }));
    assert.deepEqual(carried(), [{ a: 1 }, { b: 1 }, { slow: 1 }]);
  });

  it('makes few rounds alone at a time, those that somebody waits for first, and the next as one is answered', async () => {
    for (let i = 0; i < 1_400; i++)
      scheduler.enqueue(producer({ name: `idle ${i}`, offerable: 1, alone: true }));
    scheduler.enqueue(producer({ name: 'waited for', offerable: 1, alone: true, urgent: true }));
    assert.equal(rounds.length, 128);
    scheduler.enqueue(producer({ name: 'shared', offerable: 1, urgent: true }));
    mock.timers.tick(1);
    assert.equal(rounds.length, 129, 'a shared round waited for those that are made alone');
    rounds[0]?.answer();
    await turn();
    assert.deepEqual(carried().at(-1), { 'waited for': 1 });
    for (let answered = 1; answered < rounds.length; answered++) {
      rounds[answered]?.answer();
      await turn();
    }
    assert.equal(rounds.length, 1_402);
  });

  it('keeps the places of quick streams free of slow ones', () => {
    for (let i = 0; i < 100; i++)
      scheduler.enqueue(producer({ name: `slow ${i}`, offerable: 1, alone: true, isLight: false }));
    assert.equal(rounds.length, 32);
    scheduler.enqueue(producer({ name: 'new', offerable: 1, alone: true }));
    assert.deepEqual(carried().at(-1), { new: 1 });
  });

  it('fills no round with more than one message takes', async () => {
    for (let i = 0; i < 300; i++)
      scheduler.enqueue(producer({ name: `fast ${i}`, offerable: 64, urgent: true }));
    const served = new Set<string>();
    for (let i = 0; i < 100 && served.size < 300; i++) {
      mock.timers.tick(1);
      for (const round of rounds.splice(0)) {
        const counts = Object.values(round.carried);
        const chunks = counts.reduce((sum, count) => sum + count, 0);
        assert.ok(chunks <= MESSAGE_LIMITS.chunks.taken, `${chunks} chunks in one round`);
        assert.ok(chunks * 1184 <= MESSAGE_LIMITS.bytes.filled, `${chunks * 1184} bytes of public keys`);
        for (const name of Object.keys(round.carried)) served.add(name);
        round.answer();
      }
      await turn();
    }
    assert.equal(served.size, 300);
  });

  it('counts the bytes of large chunks', () => {
    for (let i = 0; i < 256; i++)
      scheduler.enqueue(producer({ name: `${i}`, offerable: 1, urgent: true, keyChunkSize: 65_536 }));
    mock.timers.tick(1);
    assert.equal(Object.values(carried()[0] ?? {}).length, 16);
  });

  it('tries a peer that is away with few batches now and then, and tells all others without trying', async () => {
    const away = new KeyweaveError('PEER_UNREACHABLE', 'gone');
    const wishes = Array.from({ length: 1_400 }, (_, i) => {
      return { name: `${i}`, offerable: 1, urgent: true, alone: i >= 1_000 };
    });
    const supplies = wishes.map(producer);
    let batches = 0;
    for (nowMs = 0; nowMs < 3_000; nowMs += 50) {
      for (const wish of wishes) wish.offerable = 1;
      for (const one of supplies) scheduler.enqueue(one);
      for (let i = 0; i < 5; i++) {
        mock.timers.tick(1);
        for (const round of rounds.splice(0)) {
          if (nowMs > 0) batches += Object.keys(round.carried).length;
          round.answer(away);
        }
        await turn();
      }
    }
    assert.ok(batches <= 100, `${batches} batches were made for a peer that is away`);
    assert.ok(batches >= 5, 'nobody tried');
    assert.ok((refusals.get('1399') ?? 0) >= 20 && (refusals.get('0') ?? 0) >= 20);
    // Back again: a probe gets through, and everybody follows at once.
    nowMs += 500;
    for (const wish of wishes) wish.offerable = 1;
    for (const one of supplies) scheduler.enqueue(one);
    const served = new Set<string>();
    for (let i = 0; i < 40; i++) {
      mock.timers.tick(1);
      for (const round of rounds.splice(0)) {
        for (const name of Object.keys(round.carried)) served.add(name);
        round.answer();
      }
      await turn();
    }
    assert.equal(served.size, 1_400);
  });

  it('goes on with others where a round failed for another reason', async () => {
    scheduler.enqueue(producer({ name: 'a', offerable: 1, urgent: true }));
    mock.timers.tick(1);
    rounds[0]?.answer(new KeyweaveError('TIMEOUT', 'slow'));
    await turn();
    scheduler.enqueue(producer({ name: 'b', offerable: 1, urgent: true }));
    mock.timers.tick(1);
    assert.deepEqual(carried(), [{ a: 1 }, { b: 1 }]);
    assert.equal(refusals.size, 0);
  });
});
