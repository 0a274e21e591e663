import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import type { Batch, InitiatorSupply } from './initiator-supply.ts';
import { ProductionScheduler } from './production-scheduler.ts';
import { slotOf } from './stream-terms.ts';

interface Wish {
  name: string;
  hungry: number;
  urgent?: boolean;
  alone?: boolean;
  priority?: number;
  isLight?: boolean;
  /** Chunks of a block of QKD keys. */
  unit?: number;
  sources?: readonly string[];
  keyChunkSize?: number;
}

/** What each round carried, and what ends its first half. */
let rounds: { carried: Record<string, number>; answer: (failure?: KeyweaveError) => void }[];
let nowMs: number;
let scheduler: ProductionScheduler;

function supply(wish: Wish): InitiatorSupply {
  const { urgent = false, alone = false, priority = 0, isLight = true, unit = 1, keyChunkSize = 32 } = wish;
  const slots = (wish.sources ?? ['ML-KEM-768', 'QKD']).map(slotOf);
  const made = {
    ...{ urgent, alone, isLight, unit },
    stream: { terms: { slots }, qos: { priority, keyChunkSize } },
    get hungry() {
      return wish.hungry;
    },
    begin(wanted: number) {
      const count = Math.max(1, Math.floor(wanted / unit)) * unit;
      wish.hungry = Math.max(0, wish.hungry - count);
      return { supply: made, count } as unknown as Batch;
    },
    refuse() {
      refusals.set(wish.name, (refusals.get(wish.name) ?? 0) + 1);
    },
  };
  names.set(made as unknown as InitiatorSupply, wish.name);
  return made as unknown as InitiatorSupply;
}

let names: Map<InitiatorSupply, string>;
/** Attempts of each stream that were not worth trying. */
let refusals: Map<string, number>;

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  rounds = [];
  nowMs = 0;
  names = new Map();
  refusals = new Map();
  scheduler = new ProductionScheduler(
    (batches) => {
      const { promise, resolve } = Promise.withResolvers<KeyweaveError | undefined>();
      const carried = Object.fromEntries(
        batches.map((batch) => [names.get(batch.supply) ?? '', batch.count] as const),
      );
      rounds.push({ carried, answer: resolve });
      return { offer: () => promise, finish: async () => undefined };
    },
    () => nowMs,
  );
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

  it('makes few rounds alone at a time, those that somebody waits for first, and the next as one is answered', async () => {
    for (let i = 0; i < 1_400; i++) scheduler.enqueue(supply({ name: `idle ${i}`, hungry: 1, alone: true }));
    scheduler.enqueue(supply({ name: 'waited for', hungry: 1, alone: true, urgent: true }));
    assert.equal(rounds.length, 128);
    scheduler.enqueue(supply({ name: 'shared', hungry: 1, urgent: true }));
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
      scheduler.enqueue(supply({ name: `slow ${i}`, hungry: 1, alone: true, isLight: false }));
    assert.equal(rounds.length, 32);
    scheduler.enqueue(supply({ name: 'new', hungry: 1, alone: true }));
    assert.deepEqual(carried().at(-1), { new: 1 });
  });

  it('fills no round with more than one message takes, whole blocks of QKD keys counted', async () => {
    for (let i = 0; i < 300; i++)
      scheduler.enqueue(supply({ name: `fast ${i}`, hungry: 64, urgent: true, unit: 64 }));
    const served = new Set<string>();
    for (let i = 0; i < 100 && served.size < 300; i++) {
      mock.timers.tick(1);
      for (const round of rounds.splice(0)) {
        const counts = Object.values(round.carried);
        const chunks = counts.reduce((sum, count) => sum + count, 0);
        assert.ok(chunks <= MESSAGE_LIMITS.chunks.taken, `${chunks} chunks in one round`);
        assert.ok(chunks * 1184 <= MESSAGE_LIMITS.bytes.filled, `${chunks * 1184} bytes of public keys`);
        for (const [name, count] of Object.entries(round.carried)) {
          assert.equal(count % 64, 0);
          served.add(name);
        }
        round.answer();
      }
      await turn();
    }
    assert.equal(served.size, 300);
  });

  it('counts the bytes of large chunks', () => {
    for (let i = 0; i < 256; i++)
      scheduler.enqueue(supply({ name: `${i}`, hungry: 1, urgent: true, keyChunkSize: 65_536 }));
    mock.timers.tick(1);
    assert.equal(Object.values(carried()[0] ?? {}).length, 16);
  });

  it('tries a peer that is away with few batches now and then, and tells all others without trying', async () => {
    const away = new KeyweaveError('PEER_UNREACHABLE', 'gone');
    const wishes = Array.from({ length: 1_400 }, (_, i) => {
      return { name: `${i}`, hungry: 1, urgent: true, alone: i >= 1_000 };
    });
    const supplies = wishes.map(supply);
    let batches = 0;
    for (nowMs = 0; nowMs < 3_000; nowMs += 50) {
      for (const wish of wishes) wish.hungry = 1;
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
    for (const wish of wishes) wish.hungry = 1;
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
    scheduler.enqueue(supply({ name: 'a', hungry: 1, urgent: true }));
    mock.timers.tick(1);
    rounds[0]?.answer(new KeyweaveError('TIMEOUT', 'slow'));
    await turn();
    scheduler.enqueue(supply({ name: 'b', hungry: 1, urgent: true }));
    mock.timers.tick(1);
    assert.deepEqual(carried(), [{ a: 1 }, { b: 1 }]);
    assert.equal(refusals.size, 0);
  });
});
