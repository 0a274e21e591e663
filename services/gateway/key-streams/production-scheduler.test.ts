import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import type { Batch, InitiatorSupply } from './initiator-supply.ts';
import { ProductionScheduler } from './production-scheduler.ts';
import { slotOf } from './stream-terms.ts';

interface Wish {
  name: string;
  hungry: number;
  urgent?: boolean;
  alone?: boolean;
  priority?: number;
}

/** What each round carried, and what ends its first half. */
let rounds: { carried: Record<string, number>; answer: () => void }[];
let scheduler: ProductionScheduler;

function supply(wish: Wish): InitiatorSupply {
  const { urgent = false, alone = false, priority = 0 } = wish;
  const slots = [slotOf('ML-KEM-768'), slotOf('QKD')];
  const made = {
    ...{ urgent, alone },
    stream: { terms: { slots }, qos: { priority } },
    get hungry() {
      return wish.hungry;
    },
    begin(count: number) {
      wish.hungry -= count;
      return { supply: made, count } as unknown as Batch;
    },
  };
  names.set(made as unknown as InitiatorSupply, wish.name);
  return made as unknown as InitiatorSupply;
}

let names: Map<InitiatorSupply, string>;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  rounds = [];
  names = new Map();
  scheduler = new ProductionScheduler((batches) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const carried = Object.fromEntries(
      batches.map((batch) => [names.get(batch.supply) ?? '', batch.count] as const),
    );
    rounds.push({ carried, answer: resolve });
    return { offer: () => promise, finish: async () => undefined };
  });
});

afterEach(() => mock.timers.reset());

const carried = () => rounds.map((round) => round.carried);
const turn = () => new Promise<void>((resolve) => queueMicrotask(() => queueMicrotask(resolve)));

describe('ProductionScheduler', () => {
  it('puts what is asked for in one turn into one round', () => {
    for (const name of ['a', 'b', 'c']) scheduler.enqueue(supply({ name, hungry: 2, urgent: true }));
    mock.timers.tick(1);
    assert.deepEqual(carried(), [{ a: 2, b: 2, c: 2 }]);
  });

  it('lets what nobody waits for gather for a while, or until it is enough', () => {
    scheduler.enqueue(supply({ name: 'a', hungry: 5 }));
    mock.timers.tick(50);
    assert.deepEqual(carried(), []);
    scheduler.enqueue(supply({ name: 'b', hungry: 5 }));
    mock.timers.tick(50);
    assert.deepEqual(carried(), [{ a: 5, b: 5 }]);
    scheduler.enqueue(supply({ name: 'c', hungry: 200 }));
    mock.timers.tick(1);
    assert.deepEqual(carried()[1], { c: 200 });
  });

  it('shares a round between those who wait by priority, before those for whom nobody waits', () => {
    scheduler.enqueue(supply({ name: 'idle', hungry: 100 }));
    scheduler.enqueue(supply({ name: 'low', hungry: 1000, urgent: true }));
    scheduler.enqueue(supply({ name: 'high', hungry: 1000, urgent: true, priority: 2 }));
    mock.timers.tick(1);
    const [round] = carried();
    assert.equal(round?.high, 192);
    assert.equal(round?.low, 64);
    assert.equal(round?.idle, undefined);
  });

  it('gives who got nothing the next round, and has two rounds on their way at most', async () => {
    for (const name of ['a', 'b', 'c']) scheduler.enqueue(supply({ name, hungry: 256, urgent: true }));
    mock.timers.tick(1);
    for (const name of ['d', 'e']) scheduler.enqueue(supply({ name, hungry: 1, urgent: true }));
    mock.timers.tick(1);
    scheduler.enqueue(supply({ name: 'f', hungry: 1, urgent: true }));
    mock.timers.tick(1);
    assert.equal(rounds.length, 2);
    rounds[0]?.answer();
    await turn();
    mock.timers.tick(1);
    assert.equal(rounds.length, 3);
    assert.equal(carried()[2]?.f, 1);
  });

  it('makes the rounds of slow or troubled streams alone, at once, however many others are on their way', () => {
    for (const name of ['a', 'b']) {
      scheduler.enqueue(supply({ name, hungry: 1, urgent: true }));
      mock.timers.tick(1);
    }
    scheduler.enqueue(supply({ name: 'slow', hungry: 1, alone: true }));
    assert.deepEqual(carried(), [{ a: 1 }, { b: 1 }, { slow: 1 }]);
  });
});
