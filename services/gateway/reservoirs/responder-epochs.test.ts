import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, type KeyweaveError } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { FakeKeyManager, keysFrom } from '#test/helpers/fake-key-manager.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';
import { ReservoirAccount } from './reservoir-account.ts';
import { ResponderReservoir } from './responder-reservoir.ts';

const ID = Buffer.alloc(16, 7);

let clock: FakeClock;
let manager: FakeKeyManager;
let account: ReservoirAccount;
let reservoir: ResponderReservoir;

beforeEach(() => {
  clock = new FakeClock();
  manager = new FakeKeyManager();
  account = new ReservoirAccount();
  reservoir = new ResponderReservoir({
    tools: {
      ...{ qkd: manager, clock, log: silentLog, join: 'auto' },
      ...{ maxBlockKeys: 16, maxKeys: 256 },
    },
    ...{ id: ID, account, initiatorNode: ALICE, responderNode: BOB },
  });
});

const reference = (epoch: number, change: Partial<QkdReference> = {}): QkdReference => ({
  ...{ epoch, qkdKeyStreamId: '', position: 0n, blockKeys: 1, reservoir: ID, burned: 0n, read: 0n },
  keyNames: [],
  ...change,
});

const take = (epoch: number, position: number, count = 1, change: Partial<QkdReference> = {}) =>
  reservoir.take(reference(epoch, { position: BigInt(position), ...change }), count, 1);

const refuses = (work: Promise<unknown>, reason: Parameters<typeof isReason>[1], words = /./) =>
  assert.rejects(work, (error: KeyweaveError) => {
    assert.ok(isReason(error, reason), `${error}, not ${reason}`);
    assert.match(error.detail, words);
    return true;
  });

const closed = () => manager.closed.map(({ epoch }) => epoch);

describe('the epochs of a responder', () => {
  it('begin at their first key, each a stream of its own at the key manager', async () => {
    assert.deepEqual(await take(0, 0, 2), keysFrom(0, 0, 2));
    assert.deepEqual(await take(4, 0, 2), keysFrom(4, 0, 2));
    assert.deepEqual(
      manager.opened.map(({ epoch }) => epoch),
      [0, 4],
    );
  });

  it('are kept for late batches for five seconds once the next one has begun', async () => {
    await take(0, 0, 1, { read: 10n });
    await take(1, 0);
    await clock.advance(4_999);
    assert.deepEqual(await take(0, 1), keysFrom(0, 1, 1));
    assert.deepEqual(closed(), []);
    await clock.advance(1);
    assert.deepEqual([closed(), reservoir.held], [[0], 0]);
    assert.equal(account.balance.burned.get('its epoch was left'), 8);
    await refuses(take(0, 2), 'QKD_OUT_OF_STEP', /QKD epoch 0 has been left/);
    assert.deepEqual(await take(1, 1), keysFrom(1, 1, 1), 'the newer one was left with it');
  });

  it('are two at most: what is begun beyond ends the oldest at once', async () => {
    for (const epoch of [0, 1, 2]) await take(epoch, 0, 1, { read: 5n });
    await clock.settle();
    assert.deepEqual([closed(), reservoir.held], [[0], 8]);
    await refuses(take(0, 1), 'QKD_OUT_OF_STEP');
    assert.deepEqual(await take(1, 1), keysFrom(1, 1, 1));
    await clock.advance(10_000);
    assert.deepEqual(closed(), [0, 1]);
  });

  it('are never begun again, whichever were skipped', async () => {
    await take(5, 0);
    for (const epoch of [4, 0]) {
      await refuses(take(epoch, 0), 'QKD_OUT_OF_STEP', /has been left/);
      await refuses(reservoir.prepare(reference(epoch)), 'QKD_OUT_OF_STEP');
    }
    assert.equal(manager.opened.length, 1);
  });

  it('are not begun where keys of them are used up, since another life of this gateway has read them', async () => {
    await refuses(take(0, 1, 1, { burned: 1n }), 'QKD_OUT_OF_STEP', /begun without this end/);
    await refuses(reservoir.prepare(reference(3, { burned: 2n })), 'QKD_OUT_OF_STEP');
    assert.equal(manager.opened.length, 0);
    assert.deepEqual(await take(0, 0), keysFrom(0, 0, 1), 'what is refused begins no epoch');
  });

  it('are given up at the key manager where a peer names one after the other', async () => {
    const signals: AbortSignal[] = [];
    manager.onOpen = (_, signal) => {
      signals.push(signal);
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('gone'))));
    };
    const prepared = Array.from({ length: 20 }, (_, epoch) => reservoir.prepare(reference(epoch)));
    const left = Promise.allSettled(prepared.slice(0, -1));
    await clock.advance(10_000);
    for (const result of await left) {
      assert.ok(result.status === 'rejected' && isReason(result.reason, 'QKD_OUT_OF_STEP'));
    }
    assert.deepEqual(
      signals.map(({ aborted }) => aborted),
      [...Array<boolean>(19).fill(true), false],
    );
  });
});

describe('a reference that another end names', () => {
  it('has blocks of 1 to 64 keys, which the key manager of this end is known to give', async () => {
    for (const blockKeys of [0, 65, 4_294_967_295]) {
      await refuses(take(0, 0, 1, { blockKeys }), 'BAD_REQUEST', /block_keys must be 1 to 64, not/);
      await refuses(reservoir.prepare(reference(0, { blockKeys })), 'BAD_REQUEST');
    }
    await refuses(take(0, 0, 1, { blockKeys: 2 }), 'QKD_UNAVAILABLE', /does not read blocks of 2 QKD keys/);
    assert.equal(manager.opened.length, 0);
    manager.blockBytes = 16 * 32;
    await take(0, 0);
    assert.equal(reservoir.givenBlockKeys, 16);
    await refuses(reservoir.prepare(reference(1, { blockKeys: 17 })), 'QKD_UNAVAILABLE');
    manager.blockBytes = 0;
    await take(0, 1);
    assert.equal(reservoir.givenBlockKeys, 16, 'no news changes nothing');
    assert.deepEqual(await take(1, 0, 20, { blockKeys: 16 }), keysFrom(1, 0, 20));
    assert.equal(manager.opened.at(-1)?.keyBytes, 512);
    assert.deepEqual(
      manager.fetches.slice(-1).map(({ count, keyBytes }) => [count, keyBytes]),
      [[2, 512]],
    );
    assert.equal(reservoir.held, 12);
  });

  it('believes in no larger blocks than it would read, whatever the key manager says', async () => {
    manager.blockBytes = 4_000 * 32;
    await take(0, 0);
    assert.equal(reservoir.givenBlockKeys, 64);
  });

  it('keeps to the blocks of its epoch', async () => {
    manager.blockBytes = 16 * 32;
    await take(0, 0);
    await refuses(take(0, 1, 1, { blockKeys: 16 }), 'QKD_OUT_OF_STEP', /reads blocks of 16 QKD keys/);
    assert.deepEqual(await take(0, 1), keysFrom(0, 1, 1));
  });

  it('names a stream of the key manager in 256 characters at most', async () => {
    for (const length of [257, 65_536]) {
      await refuses(
        take(0, 0, 1, { qkdKeyStreamId: 'x'.repeat(length) }),
        'BAD_REQUEST',
        /qkd_key_stream_id must not exceed 256 characters/,
      );
    }
    assert.equal(manager.opened.length, 0);
    const longest = 'x'.repeat(256);
    await take(0, 0, 1, { qkdKeyStreamId: longest });
    assert.equal(manager.opened[0]?.qkdKeyStreamId, longest);
  });
});
