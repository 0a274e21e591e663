import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { numbersOf } from '#test/helpers/fake-key-manager.ts';
import { ReservoirBench, type TestTaker } from '#test/helpers/reservoir-bench.ts';

let bench: ReservoirBench;
let taker: TestTaker;

function begin(options: ConstructorParameters<typeof ReservoirBench>[0] = {}): void {
  bench = new ReservoirBench(options);
  taker = bench.taker();
}

beforeEach(() => begin());
afterEach(async () => {
  bench.assertBalance();
  for (const grant of bench.out) bench.giveBack(grant);
  bench.reservoir.end('the test is over');
  await bench.clock.settle();
  bench.assertBalance();
  bench.assertWiped();
});

const lost = (one = taker, reason: ErrorReason = 'QKD_OUT_OF_STEP') =>
  bench.reservoir.lost(one.last, new KeyweaveError(reason, 'as the test says'));
const epochOf = ({ last }: TestTaker) => last.sequence.name.epoch;
const gone = () => Promise.reject(new KeyweaveError('QKD_UNAVAILABLE', 'no link'));
const closed = () => bench.keys.closed.map(({ epoch }) => epoch);

describe('an initiator that may have lost step', () => {
  it('burns what it holds, and begins the next epoch at its first key, once for all batches under way', async () => {
    const other = bench.taker();
    await taker.ask(6);
    await other.ask(2);
    const grant = bench.trim(taker.last, 2);
    assert.equal(bench.reservoir.held, 4);
    bench.reservoir.lost(grant, new KeyweaveError('QKD_OUT_OF_STEP', 'one'));
    assert.equal(bench.reservoir.held, 0);
    assert.equal(bench.account.balance.burned.get('QKD_OUT_OF_STEP'), 4);
    bench.burn(grant, 2);
    lost(other);
    bench.giveBack(other.last);
    assert.ok(
      other.last.keys.every((byte) => byte === 0),
      'they were not wiped',
    );
    assert.equal(
      bench.account.balance.burned.get('its epoch was left'),
      2,
      'keys of an epoch that was left live on',
    );
    await taker.ask(1);
    await bench.clock.advance(60);
    assert.deepEqual([epochOf(taker), numbersOf(taker.last.keys)], [1, [0]]);
    assert.deepEqual(
      [bench.announced.map(({ epoch }) => epoch), bench.keys.opened.map(({ epoch }) => epoch), closed()],
      [[0, 1], [0, 1], [0]],
    );
  });

  it('pauses for 50 ms, twice as long after each further loss, 1 s at most, and begins anew after a success', async () => {
    const pauses = async (times: number) => {
      const found: number[] = [];
      for (let i = 0; i < times; i++) {
        lost();
        bench.burn(taker.last, 1);
        const count = taker.grants.length;
        await taker.ask(1);
        let ms = 0;
        for (; taker.grants.length === count && ms < 2_000; ms += 10) await bench.clock.advance(10);
        found.push(ms);
      }
      return found;
    };
    await taker.ask(1);
    // A read is no success of a batch, but shows that the key manager is well.
    assert.deepEqual(await pauses(3), [50, 50, 50]);
    bench.reservoir.succeeded();
    assert.deepEqual(await pauses(1), [50]);
  });

  it('uses keys of a batch that both ends had agreed on, though its epoch was left', async () => {
    const other = bench.taker();
    await taker.ask(1);
    await other.ask(2);
    lost();
    bench.burn(taker.last, 1);
    assert.deepEqual(bench.use(other.last, 1), [1]);
    assert.equal(bench.reservoir.held, 0, 'what is left of it would be given with the keys of another epoch');
  });

  it('waits with the new epoch for the reading that is under way, whose keys it wipes', async () => {
    await taker.ask(1);
    const given = Promise.withResolvers<void>();
    bench.keys.onFetch = async (keys) => {
      await given.promise;
      return keys;
    };
    const other = bench.taker();
    await other.ask(2);
    lost();
    bench.burn(taker.last, 1);
    await bench.clock.advance(60);
    bench.keys.onFetch = async (keys) => keys;
    given.resolve();
    await bench.clock.advance(60);
    assert.deepEqual([epochOf(other), numbersOf(other.last.keys)], [1, [0, 1]]);
  });

  it('takes nothing amiss of an epoch that it has left while it was being opened', async () => {
    await taker.ask(1);
    const old = Promise.withResolvers<string>();
    bench.keys.onOpen = ({ epoch }) => (epoch === 1 ? old.promise : Promise.resolve(`kme-${epoch}`));
    lost();
    const other = bench.taker();
    await other.ask(1);
    await bench.clock.advance(60);
    assert.equal(bench.keys.opened.at(-1)?.epoch, 1);
    bench.reservoir.end('the other end has begun another');
    old.reject(new KeyweaveError('QKD_UNAVAILABLE', 'gone'));
    await bench.clock.settle();
    assert.deepEqual(other.errors, []);
  });
});

describe('an initiator whose key manager', () => {
  it('refuses to open tells everybody who waits, and is asked again after 50, 100, … ms', async () => {
    bench.keys.onOpen = gone;
    const other = bench.taker();
    taker.qkdWanted = 1;
    bench.reservoir.ask(taker);
    await other.ask(1);
    for (const { errors } of [taker, other]) assert.match(`${errors[0]}`, /QKD_UNAVAILABLE: no link/);
    assert.equal(bench.reservoir.isAskedBy(taker), false, 'who was told has to ask again');
    const at: number[] = [];
    bench.keys.onOpen = () => {
      at.push(bench.clock.monotonicMs());
      return gone();
    };
    for (let i = 0; i < 400; i++) {
      if (!bench.reservoir.isAskedBy(taker)) await taker.ask(1);
      await bench.clock.advance(10);
    }
    const gaps = at.map((ms, i) => ms - (at[i - 1] ?? 0));
    assert.deepEqual(gaps.slice(0, 6), [50, 100, 200, 400, 800, 1_000]);
    assert.deepEqual(
      [...new Set(bench.keys.opened.map(({ epoch }) => epoch))],
      [0],
      'an epoch that nobody has opened is no epoch',
    );
    bench.keys.onOpen = async () => 'back';
    await bench.clock.advance(1_100);
    assert.deepEqual(taker.numbers.at(-1), [0]);
  });

  it("answers while the other end knows none of this node's streams tells those that asked before, and no later one", async () => {
    const answer = Promise.withResolvers<Awaited<ReturnType<typeof bench.onAnnounce>>>();
    bench.onAnnounce = () => answer.promise;
    await taker.ask(1);
    const later = bench.taker();
    later.replaceable = true;
    await later.ask(1);
    bench.onAnnounce = async () => ({ failure: undefined, blockKeys: 0 });
    answer.resolve({ failure: { reason: 'UNKNOWN_STREAM', detail: 'which?' }, blockKeys: 0 });
    await bench.clock.settle();
    assert.match(`${taker.errors[0]}`, /UNKNOWN_STREAM/);
    await bench.clock.advance(60);
    assert.deepEqual([later.errors, later.numbers], [[], [[0]]]);
  });

  it('is away tells at once who asks in the pause, where something stands in for the keys', async () => {
    bench.keys.onOpen = gone;
    await taker.ask(1);
    const other = bench.taker();
    other.replaceable = true;
    await other.ask(1);
    assert.match(`${other.errors[0]}`, /QKD_UNAVAILABLE: no link/);
    assert.equal(bench.keys.opened.length, 1, 'it was asked in the pause');
    await taker.ask(1);
    assert.equal(taker.errors.length, 1, 'who can wait was told');
    bench.keys.onOpen = async () => 'back';
    await bench.clock.advance(60);
    assert.deepEqual(taker.numbers, [[0]]);
  });

  it('does not answer until the other end has come has the other end told to open by URIs', async () => {
    begin({ join: 'auto' });
    const opening = Promise.withResolvers<string>();
    bench.keys.onOpen = () => opening.promise;
    bench.onAnnounce = async () => {
      opening.resolve('late');
      return { failure: undefined, blockKeys: 0 };
    };
    await taker.ask(1);
    await bench.clock.advance(250);
    assert.equal(bench.announced.length, 0);
    await bench.clock.advance(1);
    assert.equal(bench.announced[0]?.qkdKeyStreamId, '');
    assert.deepEqual(taker.numbers, [[0]]);
    assert.equal(bench.reservoir.reference(taker.last).qkdKeyStreamId, '');
  });

  it('names its stream has the other end join it, and is waited for where that cannot do without', async () => {
    begin({ join: 'ksid' });
    const opening = Promise.withResolvers<string>();
    bench.keys.onOpen = () => opening.promise;
    await taker.ask(1);
    await bench.clock.advance(3_000);
    assert.equal(bench.announced.length, 0);
    opening.resolve('shared');
    await bench.clock.settle();
    assert.equal(bench.announced[0]?.qkdKeyStreamId, 'shared');
    assert.equal(bench.reservoir.reference(taker.last).qkdKeyStreamId, 'shared');
    begin();
    await taker.ask(1);
    assert.equal(bench.announced[0]?.qkdKeyStreamId, '', 'uris');
  });

  it('fails without a loss keeps what was read before, which is used first', async () => {
    await taker.ask(4);
    bench.giveBack(taker.last);
    bench.keys.onFetch = async () => new KeyweaveError('QKD_UNAVAILABLE', 'gone');
    const other = bench.taker();
    await other.ask(4);
    assert.deepEqual(numbersOf(other.last.keys), [0, 1, 2, 3]);
    await taker.ask(1);
    assert.ok(isReason(taker.errors[0], 'QKD_UNAVAILABLE'));
    bench.keys.onFetch = async (keys) => keys;
    await taker.ask(1);
    await bench.clock.advance(60);
    assert.deepEqual([epochOf(taker), numbersOf(taker.last.keys)], [1, [0]]);
    bench.giveBack(other.last);
    await taker.ask(4);
    assert.deepEqual(
      [epochOf(taker), numbersOf(taker.last.keys)],
      [0, [0, 1, 2, 3]],
      'keys in step were thrown away',
    );
    bench.use(taker.last);
    await taker.ask(2);
    assert.deepEqual([epochOf(taker), numbersOf(taker.last.keys)], [1, [1, 2]]);
    await bench.clock.settle();
    assert.deepEqual(closed(), [0], 'an epoch without keys is kept');
  });

  it('fails again and again leaves the oldest epoch, though a batch of it is under way', async () => {
    await taker.ask(1);
    bench.keys.onFetch = async () => new KeyweaveError('QKD_UNAVAILABLE', 'gone');
    const other = bench.taker();
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(closed(), []);
      await other.ask(1);
      await bench.clock.advance(100);
    }
    assert.equal(other.errors.length, 2);
    assert.deepEqual(closed(), [0, 1]);
    assert.deepEqual(bench.use(taker.last), [0], 'both ends have agreed on it');
  });

  it('answers while the other end cannot open it has everybody told why', async () => {
    bench.onAnnounce = async () => ({
      failure: { reason: 'QKD_UNAVAILABLE', detail: 'there is no link there' },
      blockKeys: 0,
    });
    await taker.ask(1);
    assert.match(`${taker.errors[0]}`, /there is no link there/);
    bench.onAnnounce = () => Promise.reject(new KeyweaveError('PEER_UNREACHABLE', 'no way there'));
    await taker.ask(1);
    await bench.clock.advance(60);
    assert.match(`${taker.errors[1]}`, /PEER_UNREACHABLE: no way there/);
    assert.deepEqual(bench.keys.fetches, [], 'keys were read that the other end cannot read');
    bench.onAnnounce = async () => ({ failure: undefined, blockKeys: 0 });
    await taker.ask(1);
    await bench.clock.advance(500);
    assert.equal(taker.grants.length, 1);
    const last = bench.announced.at(-1)?.epoch;
    assert.equal(epochOf(taker), last);
    await bench.clock.settle();
    assert.deepEqual(closed(), [...Array(last).keys()], 'what was opened in vain stays open');
  });
});

describe('an initiator that reads QKD keys in blocks', () => {
  /** 800 keys a second. */
  async function readFast(): Promise<void> {
    for (let i = 0; i < 40; i++) {
      for (let got = 0; got < 16; ) {
        await taker.ask(16 - got);
        got += bench.use(taker.last).length;
      }
      await bench.clock.advance(20);
    }
  }

  /** A fast link whose key managers give blocks of 16; ends with a grant of a block. */
  async function inBlocks(): Promise<void> {
    begin({ maxBlockKeys: 16 });
    bench.keys.blockBytes = 64 * 32;
    bench.onAnnounce = async () => ({ failure: undefined, blockKeys: 16 });
    await readFast();
  }

  it('begins them with an epoch of their own once the link is fast, and uses up the one before first', async () => {
    await inBlocks();
    assert.deepEqual([epochOf(taker), taker.last.sequence.name.blockKeys], [1, 16]);
    assert.equal(bench.keys.opened.at(-1)?.keyBytes, 512);
    assert.equal(bench.announced.at(-1)?.blockKeys, 16);
    const epochs = taker.grants.map(({ sequence }) => sequence.name.epoch);
    assert.deepEqual(epochs, epochs.toSorted(), 'keys of the one before are left behind');
    assert.deepEqual(closed(), [0]);
  });

  it('goes back to single keys where the link is slow again', async () => {
    await inBlocks();
    for (let i = 0; i < 60; i++) {
      await taker.ask(1);
      bench.use(taker.last);
      await bench.clock.advance(1_000);
    }
    assert.equal(taker.last.sequence.name.blockKeys, 1);
  });

  it('goes back for good, at once and in words to nobody, where a key manager gives no block after all', async () => {
    await inBlocks();
    bench.keys.onFetch = async (keys, { keyBytes }) =>
      keyBytes > 32 ? new KeyweaveError('QKD_UNAVAILABLE', 'no such size') : keys;
    for (let i = 0; i < 50 && taker.last.sequence.name.blockKeys > 1; i++) {
      await taker.ask(16);
      if (bench.out.has(taker.last)) bench.use(taker.last);
    }
    assert.deepEqual([taker.errors, taker.last.sequence.name.blockKeys], [[], 1]);
    if (bench.out.has(taker.last)) bench.use(taker.last);
    bench.keys.onFetch = async (keys) => keys;
    await readFast();
    assert.equal(taker.last.sequence.name.blockKeys, 1, 'blocks are tried again');
  });

  it('goes back for good where the other end cannot read them, and keeps to them where they are not to blame', async () => {
    for (const [reason, blockKeys] of [
      ['QKD_UNAVAILABLE', 1],
      ['QKD_OUT_OF_STEP', 1],
      ['AGREEMENT_FAILED', 16],
    ] as const) {
      await inBlocks();
      await taker.ask(16);
      lost(taker, reason);
      bench.burn(taker.last, taker.last.keys.length / 32);
      await taker.ask(16);
      await bench.clock.advance(60);
      assert.equal(taker.last.sequence.name.blockKeys, blockKeys, reason);
      bench.use(taker.last);
    }
  });

  it('reads single keys where a block has not come together yet', async () => {
    await inBlocks();
    await taker.ask(64);
    bench.use(taker.last);
    bench.keys.left = 5;
    await taker.ask(64);
    await bench.clock.advance(200);
    const keys = taker.grants.slice(-1).flatMap(({ keys }) => numbersOf(keys));
    assert.ok(keys.length > 0, 'somebody waits though there are keys');
  });
});
