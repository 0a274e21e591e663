import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { keyName, numbersOf } from '#test/helpers/fake-key-manager.ts';
import { ReservoirBench } from '#test/helpers/reservoir-bench.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';

let bench: ReservoirBench;

beforeEach(() => {
  bench = new ReservoirBench();
});
afterEach(async () => {
  bench.assertBalance();
  for (const grant of bench.out) bench.giveBack(grant);
  bench.reservoir.end('the test is over');
  await bench.clock.settle();
  assert.equal(bench.reservoir.held, 0);
  bench.assertBalance();
  bench.assertWiped();
  assert.equal(bench.clock.pending, 0, 'a timer is left');
});

const read = () => bench.keys.fetches.reduce((sum, { count }) => sum + count, 0);

describe('the reservoir of an initiator', () => {
  it('opens its stream at the key manager, tells the other end, and reads what is asked for', async () => {
    const taker = bench.taker();
    await taker.ask(3);
    assert.deepEqual(bench.keys.opened, [
      {
        ...{ keyStreamId: Buffer.alloc(16, 7), epoch: 0, sourceNode: ALICE, destinationNode: BOB },
        ...{ keyBytes: 32, qkdKeyStreamId: '' },
      },
    ]);
    assert.deepEqual(bench.announced, [
      {
        ...{ epoch: 0, qkdKeyStreamId: '', position: 0n, blockKeys: 1, burned: 0n, read: 0n },
        reservoir: Buffer.alloc(16, 7),
        keyNames: [],
      },
    ]);
    assert.deepEqual([taker.numbers, read()], [[[0, 1, 2]], 3]);
  });

  it('opens at both ends before anybody asks, where it is told to, and reads nothing', async () => {
    bench.reservoir.warm();
    bench.reservoir.warm();
    await bench.clock.settle();
    assert.deepEqual([bench.keys.opened.length, bench.announced.length, read()], [1, 1, 0]);
    const taker = bench.taker();
    await taker.ask(1);
    assert.deepEqual([bench.keys.opened.length, taker.numbers], [1, [[0]]]);
  });

  it('has those come along that would ask a moment later: one read for all', async () => {
    const [one, two] = [bench.taker(), bench.taker()];
    for (const taker of [one, two]) bench.reservoir.join(taker);
    two.invite = () => {
      two.qkdWanted = 3;
      bench.reservoir.warm();
      bench.reservoir.ask(two);
    };
    await one.ask(2);
    assert.deepEqual([bench.keys.fetches.length, read()], [1, 5]);
    assert.deepEqual([one.numbers.flat().length, two.numbers.flat().length], [2, 3]);
  });

  it('adds up what it has promised, for as long as the streams are open', () => {
    const [one, two] = [bench.taker(), bench.taker()];
    [one.promised, two.promised] = [4, 1.5];
    for (const taker of [one, two]) bench.reservoir.join(taker);
    assert.equal(bench.reservoir.promised, 5.5);
    bench.reservoir.leave(one);
    assert.equal(bench.reservoir.promised, 1.5);
  });

  it('reads nothing for nobody', async () => {
    const taker = bench.taker();
    await taker.ask(0);
    assert.deepEqual([bench.keys.opened, bench.announced], [[], []]);
  });

  it('gives each batch the next keys, which follow each other, and none of them twice', async () => {
    const takers = [bench.taker(), bench.taker({ slots: 2 }), bench.taker()];
    for (const taker of takers) {
      await taker.ask(4);
      await taker.ask(4);
    }
    const all = takers.flatMap(({ numbers }) => numbers);
    for (const numbers of all)
      assert.deepEqual(
        numbers,
        Array.from(numbers, (_, i) => (numbers[0] as number) + i),
      );
    assert.equal(new Set(all.flat()).size, 24);
  });

  it('gives on what a batch has left, before what was read later', async () => {
    const taker = bench.taker();
    await taker.ask(6);
    const first = taker.last;
    assert.deepEqual(bench.use(first, 2), [0, 1]);
    await taker.ask(4);
    assert.deepEqual(numbersOf(taker.last.keys), [2, 3, 4, 5], 'they would lie about');
    await taker.ask(1);
    assert.deepEqual(numbersOf(taker.last.keys), [6]);
  });

  it('gives on all of a batch that came to nothing, in the order of the numbers', async () => {
    const [one, two] = [bench.taker(), bench.taker()];
    await one.ask(2);
    await two.ask(2);
    bench.giveBack(two.last);
    bench.giveBack(one.last);
    await one.ask(4);
    assert.deepEqual(numbersOf(one.last.keys), [0, 1, 2, 3]);
  });

  it('gives to those who wait what another hands back', async () => {
    bench.keys.left = 2;
    const [one, two] = [bench.taker(), bench.taker()];
    await one.ask(2);
    await two.ask(1);
    assert.deepEqual(two.grants, []);
    bench.giveBack(one.last);
    assert.deepEqual(two.numbers, [[0]]);
  });

  it('burns what somebody may have used, and gives on the others', async () => {
    const taker = bench.taker();
    await taker.ask(5);
    bench.burn(taker.last, 3, 'TIMEOUT');
    await taker.ask(2);
    assert.deepEqual(numbersOf(taker.last.keys), [3, 4]);
    assert.equal(bench.account.balance.burned.get('TIMEOUT'), 3);
  });

  it('trims a grant to a smaller batch, and gives on the others', async () => {
    const [one, two] = [bench.taker(), bench.taker()];
    await one.ask(5);
    const whole = one.last;
    const trimmed = bench.trim(whole, 2);
    assert.deepEqual(numbersOf(trimmed.keys), [0, 1]);
    assert.equal(bench.trim(trimmed, 2), trimmed);
    await two.ask(3);
    assert.deepEqual(two.numbers, [[2, 3, 4]]);
    assert.deepEqual(bench.use(trimmed), [0, 1]);
    assert.throws(() => bench.reservoir.giveBack(whole), /a grant is settled once/);
  });

  it('lets a grant be settled once', async () => {
    const taker = bench.taker();
    await taker.ask(2);
    const grant = taker.last;
    bench.use(grant);
    for (const again of [() => bench.reservoir.giveBack(grant), () => bench.reservoir.trim(grant, 1)]) {
      assert.throws(again, /a grant is settled once/);
    }
    await taker.ask(1);
    assert.deepEqual(numbersOf(taker.last.keys), [2]);
  });

  it('says to the other end below which number nobody needs a key any more, and how far it has read', async () => {
    const [one, two, three] = [bench.taker(), bench.taker(), bench.taker()];
    const burnedOf = (grant: typeof one.last) => {
      const { position, burned, read } = bench.reservoir.reference(grant);
      return [position, burned, read];
    };
    await one.ask(2);
    await two.ask(2);
    await three.ask(2);
    assert.deepEqual(burnedOf(three.last), [4n, 0n, 6n], 'the keys of batches under way would be wiped');
    bench.use(two.last);
    assert.deepEqual(burnedOf(three.last), [4n, 0n, 6n]);
    bench.use(one.last);
    assert.deepEqual(burnedOf(three.last), [4n, 4n, 6n]);
    await one.ask(2);
    bench.giveBack(three.last);
    assert.deepEqual(burnedOf(one.last), [6n, 4n, 8n], 'keys that are still to be given would be wiped');
  });

  it('makes whole chunks only, however few keys there are', async () => {
    bench.keys.left = 5;
    const taker = bench.taker({ slots: 2 });
    await taker.ask(8);
    assert.deepEqual(taker.numbers, [[0, 1, 2, 3]]);
    assert.equal(bench.reservoir.held, 1);
    bench.use(taker.last);
    bench.keys.left = 1;
    await taker.ask(2);
    await bench.clock.advance(100);
    assert.deepEqual(taker.numbers[1], [4, 5]);
  });

  it('reads a little ahead of a fast link only, and a small part of what it has used at most', async () => {
    const taker = bench.taker();
    let used = 0;
    for (let i = 0; i < 400; i++) {
      await taker.ask(8);
      used += bench.use(taker.last).length;
      assert.ok(bench.reservoir.held <= Math.max(1, used / 100), `${bench.reservoir.held} of ${used} keys`);
      await bench.clock.advance(10);
    }
    assert.ok(bench.reservoir.held >= 2, `${bench.reservoir.held} keys are read ahead`);
  });

  it('gives whole batches where its key manager has enough, though it reads little ahead', async () => {
    const taker = bench.taker();
    for (let i = 0; i < 60; i++) {
      await taker.ask(16);
      bench.use(taker.last);
      await bench.clock.advance(20);
    }
    const sizes = taker.numbers.map((numbers) => numbers.length);
    assert.ok(
      sizes.every((size) => size >= 8),
      `batches of ${sizes} keys`,
    );
  });

  it('holds no more than it may, whoever wants more', async () => {
    bench = new ReservoirBench({ maxKeys: 64 });
    const taker = bench.taker();
    await taker.ask(1_000);
    assert.ok(taker.last.keys.length / 32 <= 64);
    assert.ok(bench.reservoir.held <= 64);
    assert.ok(read() <= 64 + 64, `${read()} keys were read`);
  });

  it('wipes what has lain too long, which what was handed back does not make younger', async () => {
    const taker = bench.taker();
    await taker.ask(4);
    await bench.clock.advance(1_000);
    bench.giveBack(taker.last);
    await taker.ask(2);
    await bench.clock.advance(1_000);
    bench.giveBack(taker.last);
    bench.reservoir.burnOlder(1_500);
    assert.equal(bench.reservoir.held, 0);
    assert.equal(bench.account.balance.burned.get('too old'), 4);
    await taker.ask(1);
    assert.deepEqual(numbersOf(taker.last.keys), [4]);
    bench.reservoir.burnOlder(5_000);
    assert.equal(bench.use(taker.last).length, 1, 'keys under way were wiped');
  });

  it('wipes all at its end, closes at the key manager, and gives and reads nothing after that', async () => {
    const [one, two] = [bench.taker(), bench.taker()];
    await one.ask(4);
    const grant = bench.trim(one.last, 2);
    await two.ask(1);
    assert.equal(bench.reservoir.held, 1);
    bench.reservoir.end('over');
    bench.reservoir.end('over');
    assert.equal(bench.reservoir.held, 0);
    assert.equal(bench.account.balance.burned.get('over'), 1);
    bench.giveBack(two.last);
    assert.deepEqual(bench.use(grant, 1), [0], 'both ends have agreed on it');
    assert.equal(bench.reservoir.held, 0);
    await one.ask(1);
    await bench.clock.advance(5_000);
    assert.deepEqual([one.grants.length, bench.keys.closed.length], [1, 1]);
  });

  it('wipes what its key manager gives after its end', async () => {
    const given = Promise.withResolvers<void>();
    bench.keys.onFetch = async (keys) => {
      await given.promise;
      return keys;
    };
    const taker = bench.taker();
    await taker.ask(2);
    bench.reservoir.end('over');
    given.resolve();
    await bench.clock.settle();
    assert.deepEqual([taker.grants, bench.reservoir.held], [[], 0]);
  });

  it('forgets who has left', async () => {
    bench.keys.left = 0;
    const [gone, stays] = [bench.taker(), bench.taker()];
    await gone.ask(2);
    await stays.ask(2);
    assert.equal(bench.reservoir.isAskedBy(gone), true);
    bench.reservoir.leave(gone);
    assert.equal(bench.reservoir.isAskedBy(gone), false);
    bench.keys.left = 2;
    await bench.clock.advance(600);
    assert.deepEqual([gone.grants.length, stays.numbers], [0, [[0, 1]]]);
  });

  it('names a grant in the epoch that it is of, whatever was lost meanwhile', async () => {
    const [one, two] = [bench.taker(), bench.taker()];
    await one.ask(2);
    await two.ask(2);
    bench.reservoir.lost(one.last, new KeyweaveError('AGREEMENT_FAILED', 'lost'));
    bench.burn(one.last, 2);
    await bench.clock.advance(60);
    const { epoch, position, burned } = bench.reservoir.reference(two.last);
    assert.deepEqual([epoch, position], [0, 2n]);
    assert.ok(burned <= position);
  });

  it('does its work for a thousand streams in a bounded number of looks at them', async () => {
    bench.keys.left = 0;
    let looks = 0;
    const takers = Array.from({ length: 1_000 }, () => {
      const taker = bench.taker();
      let wanted = 1;
      Object.defineProperty(taker, 'qkdWanted', {
        get: () => {
          looks += 1;
          return wanted;
        },
        set: (count: number) => {
          wanted = count;
        },
      });
      return taker;
    });
    for (const taker of takers) {
      taker.qkdWanted = 1;
      bench.reservoir.ask(taker);
    }
    await bench.clock.settle();
    const asked = looks;
    looks = 0;
    for (let i = 0; i < 200; i++) {
      bench.keys.left += 5;
      await bench.clock.advance(100);
    }
    assert.equal(takers.filter(({ grants }) => grants.length === 1).length, 1_000);
    assert.ok(asked <= 3 * 1_000 * 1_000, `${asked} looks`);
    assert.ok(looks <= 20 * 1_000 * 200, `${looks} looks`);
  });

  it('names the keys of a grant where the key manager names them, also those that were given back', async () => {
    bench.keys.namesKeys = true;
    const [one, two] = [bench.taker(), bench.taker()];
    await one.ask(4);
    const [grant] = one.grants;
    assert.ok(grant);
    const trimmed = bench.reservoir.trim(grant, 3);
    const { keyNames, blockKeys } = bench.reservoir.reference(trimmed);
    assert.deepEqual([keyNames, blockKeys], [[0, 1, 2].map((number) => keyName(0, number)), 1]);
    bench.reservoir.use(trimmed, 2).fill(0);
    bench.out.delete(grant);
    await two.ask(2);
    const [next] = two.grants;
    assert.ok(next);
    const named = bench.reservoir.reference(next);
    assert.deepEqual(
      named.keyNames,
      numbersOf(next.keys).map((number) => keyName(0, number)),
    );
    assert.equal(numbersOf(next.keys)[0], 2, 'what was given back comes first');
  });
});
