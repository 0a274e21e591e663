import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { systemRandom } from '#common/crypto/random.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { FakeKeyManager } from '#test/helpers/fake-key-manager.ts';
import { ksidOf } from '#test/helpers/openings.ts';
import { ALICE, BOB, CAROL, keyStream, qkdReference } from '#test/helpers/streams.ts';
import { directRoute } from '../streams/route.ts';
import type { QkdTaker } from './initiator/qkd-grant.ts';
import { Reservoirs } from './reservoirs.ts';

let clock: FakeClock;
let manager: FakeKeyManager;

const produce = async () => ({
  ...{ answers: [], decisions: [] },
  qkd: { failure: undefined, blockKeys: 0 },
});

function reservoirsOf(sharing: 'link' | 'stream' = 'link', key_rate_bps = 0): Reservoirs {
  return new Reservoirs({
    ...{ qkd: manager, clock, log: silentLog, random: systemRandom },
    links: { to: () => ({ produce }) as never },
    settings: {
      ...{ join: 'uris', block_keys: 1, sharing, key_rate_bps },
      reservoir: { max_keys: 64, max_age: 60_000 },
    },
  });
}

let reservoirs: Reservoirs;

beforeEach(() => {
  clock = new FakeClock();
  manager = new FakeKeyManager();
  reservoirs = reservoirsOf();
});

const led = (n: number, node = BOB) =>
  keyStream({ id: ksidOf(n).text, route: directRoute(node), incarnation: Buffer.alloc(8, n) });
const answered = (n: number) => keyStream({ id: ksidOf(n).text, role: 'responder' });
const between = { initiator: ALICE, responder: BOB };
const named = (byte: number, change = {}) => qkdReference({ reservoir: Buffer.alloc(16, byte), ...change });

/** Has a responder's reservoir read 3 keys ahead. */
const fill = async (byte: number) => {
  const reference = named(byte, { read: 4n });
  (await reservoirs.responder(reference, between).take(reference, 1, 1)).fill(0);
};

describe("a node's reservoirs", () => {
  it('are one for each other node, of an id that nobody can guess', () => {
    const [one, two, other] = [led(1), led(2), led(3, CAROL)].map((stream) => reservoirs.initiator(stream));
    assert.equal(one, two);
    assert.notEqual(one, other);
    assert.equal(one?.id.length, 16);
    assert.notDeepEqual(one?.id, other?.id);
    assert.notDeepEqual(one?.id, reservoirsOf().initiator(led(1)).id);
  });

  it('know what a link has left: of its rate as configured, less what is promised; nothing without either', () => {
    assert.equal(reservoirs.leftBps(BOB), 0);
    reservoirs = reservoirsOf('link', 2_560);
    assert.equal(reservoirs.leftBps(BOB), 2_560);
    const taker = { promised: 4 } as QkdTaker;
    reservoirs.initiator(led(1)).join(taker);
    assert.deepEqual([reservoirs.leftBps(BOB), reservoirs.leftBps(CAROL)], [2_560 - 4 * 256, 2_560]);
    reservoirs.initiator(led(2)).join({ promised: 100 } as QkdTaker);
    assert.equal(reservoirs.leftBps(BOB), 1, '0 would say that nobody knows');
  });

  it('of a peer that names others than before are left once nobody has named them for long', async () => {
    reservoirs.joinResponder(answered(1));
    await fill(1);
    await clock.advance(60_000);
    await fill(2);
    await clock.advance(45_000);
    assert.equal(manager.closed.length, 0);
    await clock.advance(45_000);
    assert.equal(manager.closed.length, 1, 'the older one');
    await clock.advance(600_000);
    assert.equal(manager.closed.length, 1, 'the link may be slow');
  });

  it('say how long the oldest key has lain there', async () => {
    reservoirs.joinResponder(answered(1));
    await fill(1);
    await clock.advance(700);
    const [balance] = reservoirs.balances;
    assert.deepEqual([balance?.held, balance?.oldestAgeMs], [3, 700]);
  });

  it('stay for a minute when the last stream has ended, unless another comes', async () => {
    const [first, second] = [led(1), led(2)];
    const reservoir = reservoirs.initiator(first);
    reservoirs.initiator(second);
    reservoirs.leaveInitiator(first, reservoir);
    await clock.advance(120_000);
    assert.equal(reservoirs.initiator(first), reservoir, 'a stream needs it');
    reservoirs.leaveInitiator(first, reservoir);
    reservoirs.leaveInitiator(second, reservoir);
    await clock.advance(59_999);
    assert.equal(reservoirs.initiator(first), reservoir);
    await clock.advance(120_000);
    reservoirs.leaveInitiator(first, reservoir);
    await clock.advance(60_000);
    assert.notEqual(reservoirs.initiator(first), reservoir);
  });

  it('are each stream its own where streams do not share, in an epoch that no earlier one had', () => {
    reservoirs = reservoirsOf('stream');
    const [first, second] = [led(1), led(2)];
    const [one, two] = [reservoirs.initiator(first), reservoirs.initiator(second)];
    assert.deepEqual([one.id, two.id], [first.idBytes, second.idBytes]);
    reservoirs.leaveInitiator(first, one);
    assert.notEqual(reservoirs.initiator(first), one);
  });

  it('are answered to nobody who has no stream here that takes QKD keys, nor by a name of another length', () => {
    assert.throws(
      () => reservoirs.responder(named(1), between),
      (error) => isReason(error, 'UNKNOWN_STREAM'),
    );
    reservoirs.joinResponder(answered(1));
    reservoirs.responder(named(1), between);
    for (const length of [0, 15, 17]) {
      assert.throws(
        () => reservoirs.responder(qkdReference({ reservoir: Buffer.alloc(length, 1) }), between),
        new RegExp(`BAD_REQUEST: qkd.reservoir must be 16 bytes long, not ${length}`),
      );
    }
    assert.throws(
      () => reservoirs.responder(named(1), { initiator: CAROL, responder: BOB }),
      (error) => isReason(error, 'UNKNOWN_STREAM'),
    );
  });

  it('are told apart by the peer, whatever it names', () => {
    reservoirs.joinResponder(answered(1));
    reservoirs.joinResponder(keyStream({ role: 'responder', route: directRoute(CAROL) }));
    const one = reservoirs.responder(named(1), between);
    assert.equal(reservoirs.responder(named(1), between), one);
    assert.notEqual(reservoirs.responder(named(1), { initiator: CAROL, responder: BOB }), one);
  });

  it('are few for each peer, however many it names: the oldest ends', async () => {
    reservoirs.joinResponder(answered(1));
    for (let byte = 1; byte <= 20; byte++) await fill(byte);
    await clock.settle();
    assert.equal(manager.closed.length, 18);
    const [balance] = reservoirs.balances;
    assert.equal(balance?.held, 6);
  });

  it('end with their streams, and those of links two minutes after the last of them', async () => {
    const [one, two] = [answered(1), answered(2)];
    reservoirs.joinResponder(one);
    reservoirs.joinResponder(two);
    await fill(9);
    const own = qkdReference({ reservoir: one.idBytes });
    await reservoirs.responder(own, between).prepare(own);
    reservoirs.leaveResponder(one);
    await clock.settle();
    assert.deepEqual(
      manager.closed.map(({ keyStreamId }) => keyStreamId),
      [one.idBytes],
    );
    reservoirs.leaveResponder(two);
    await clock.advance(119_000);
    assert.equal(manager.closed.length, 1);
    await clock.advance(1_001);
    assert.equal(manager.closed.length, 2);
    assert.throws(() => reservoirs.responder(named(9), between), /UNKNOWN_STREAM/);
  });

  it('wipe what nobody has used for the time that is configured, the other end’s later', async () => {
    reservoirs.initiator(led(1));
    reservoirs.joinResponder(answered(2));
    await fill(9);
    await clock.advance(119_000);
    assert.equal(reservoirs.balances.find(({ role }) => role === 'responder')?.held, 3);
    await clock.advance(32_000);
    const balance = reservoirs.balances.find(({ role }) => role === 'responder');
    assert.deepEqual([balance?.held, balance?.burned.get('too old')], [0, 3]);
  });

  it('leave nothing behind when the gateway stops', async () => {
    reservoirs.initiator(led(1));
    const other = led(2, CAROL);
    reservoirs.leaveInitiator(other, reservoirs.initiator(other));
    const stream = answered(3);
    reservoirs.joinResponder(stream);
    await fill(9);
    reservoirs.leaveResponder(stream);
    reservoirs.stop();
    reservoirs.stop();
    await clock.settle();
    assert.equal(clock.pending, 0, 'a timer is left');
    assert.ok(reservoirs.balances.every(({ held }) => held === 0));
    for (const keys of manager.given) assert.ok(keys.every((byte) => byte === 0));
  });
});
