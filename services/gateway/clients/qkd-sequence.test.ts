import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import { MESSAGE_LIMITS } from '#common/limits/message-limits.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { FakeKeyManager, keyName, keysFrom } from '#test/helpers/fake-key-manager.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';
import { QkdSequence } from './qkd-sequence.ts';

const ID = Buffer.alloc(16, 7);

let clock: FakeClock;
let manager: FakeKeyManager;

beforeEach(() => {
  clock = new FakeClock();
  manager = new FakeKeyManager();
});

function sequence(blockKeys = 1, epoch = 3): QkdSequence {
  return new QkdSequence(
    { qkd: manager, clock, log: silentLog },
    { reservoir: ID, epoch, initiatorNode: ALICE, responderNode: BOB, keyBytes: 32, blockKeys },
  );
}

const left = (error: unknown) =>
  isReason(error, 'QKD_OUT_OF_STEP') && /QKD epoch 3 has been left/.test(`${error}`);

describe('QkdSequence', () => {
  it('is opened once, for blocks of its size, by the name that is given', async () => {
    const one = sequence(16);
    assert.equal(one.isOpen, false);
    assert.deepEqual(await Promise.all([one.open('shared'), one.open('other')]), ['kme-3', 'kme-3']);
    assert.equal(one.isOpen, true);
    assert.deepEqual(manager.opened, [
      {
        ...{ keyStreamId: ID, epoch: 3, sourceNode: ALICE, destinationNode: BOB },
        ...{ keyBytes: 512, qkdKeyStreamId: 'shared' },
      },
    ]);
  });

  it('may be opened again where the key manager has refused', async () => {
    manager.onOpen = () => Promise.reject(new KeyweaveError('QKD_UNAVAILABLE', 'no'));
    const one = sequence();
    for (let i = 0; i < 2; i++) await assert.rejects(one.open(''), /QKD_UNAVAILABLE: no/);
    manager.onOpen = async () => 'back';
    assert.equal(await one.open(''), 'back');
    assert.equal(manager.opened.length, 3);
  });

  it('reads its keys in strict sequence, in whole blocks', async () => {
    const one = sequence(4);
    await one.open('');
    manager.blockBytes = 16 * 32;
    const first = await one.next(5);
    assert.deepEqual(first, { keys: keysFrom(3, 0, 8), ranDry: false, givenBlockKeys: 16 });
    assert.equal(one.read, 8);
    assert.deepEqual((await one.next(1)).keys, keysFrom(3, 8, 4));
    assert.deepEqual(
      manager.fetches.map(({ position, count, keyBytes, qkdKeyStreamId }) => [
        ...[position, count, keyBytes, qkdKeyStreamId],
      ]),
      [
        [0n, 2, 128, 'kme-3'],
        [2n, 1, 128, 'kme-3'],
      ],
    );
  });

  it('says where the key manager has run dry, and goes on behind what it gave', async () => {
    const one = sequence();
    await one.open('');
    manager.left = 2;
    assert.deepEqual(await one.next(5), { keys: keysFrom(3, 0, 2), ranDry: true, givenBlockKeys: 0 });
    manager.left = 1;
    assert.deepEqual((await one.next(1)).keys, keysFrom(3, 2, 1));
    const { keys, ranDry } = await one.next(1);
    assert.deepEqual([keys.length, ranDry, one.read], [0, true, 3]);
  });

  it('asks for no more at a time than qkd-source takes', async () => {
    const one = sequence();
    await one.open('');
    await one.next(1_000_000);
    const large = sequence(64);
    await large.open('');
    await large.next(1_000_000);
    for (const { count, keyBytes } of manager.fetches) {
      assert.ok(count <= MESSAGE_LIMITS.qkdKeys.taken && count * keyBytes <= MESSAGE_LIMITS.qkdBytes.taken);
    }
  });

  it('stays where it is when the key manager gives nothing', async () => {
    const one = sequence();
    await one.open('');
    manager.onFetch = async () => new KeyweaveError('QKD_UNAVAILABLE', 'gone');
    await assert.rejects(one.next(2), /QKD_UNAVAILABLE: gone/);
    assert.deepEqual([one.read, one.isOpen], [0, true]);
  });

  it('reads nothing before it is open, nor after its end', async () => {
    const one = sequence();
    await assert.rejects(one.next(1), left);
    await one.open('');
    one.end();
    assert.deepEqual([one.ended, one.isOpen], [true, false]);
    await assert.rejects(one.next(1), left);
    assert.deepEqual(manager.fetches, []);
  });

  it('is not opened any more after its end', async () => {
    const one = sequence();
    one.end();
    await assert.rejects(one.open(''), left);
    assert.deepEqual([manager.opened, clock.pending], [[], 0]);
  });

  it('is closed at the key manager once, by the name that it was given there', async () => {
    const one = sequence();
    await one.open('');
    one.end();
    one.end();
    await clock.settle();
    assert.deepEqual(manager.closed, [{ keyStreamId: ID, epoch: 3, qkdKeyStreamId: 'kme-3' }]);
    assert.equal(clock.pending, 0, 'an opening that is over is aborted');
  });

  it('wipes what comes after its end', async () => {
    const one = sequence();
    await one.open('');
    const given = Promise.withResolvers<void>();
    manager.onFetch = async (keys) => {
      await given.promise;
      return keys;
    };
    const reading = one.next(2);
    one.end();
    given.resolve();
    await assert.rejects(reading, left);
    assert.ok(manager.given.every((keys) => keys.every((byte) => byte === 0)));
    assert.equal(manager.given.length, 1);
  });

  it('is closed where it is opened a moment after its end, and given up where it takes longer', async () => {
    for (const [waitMs, isAborted] of [
      [499, false],
      [501, true],
    ] as const) {
      manager = new FakeKeyManager();
      const opening = Promise.withResolvers<string>();
      let signal: AbortSignal | undefined;
      manager.onOpen = (_, given) => {
        signal = given;
        given.addEventListener('abort', () => opening.reject(new Error('aborted')));
        return opening.promise;
      };
      const one = sequence();
      const opened = one.open('').then(String, String);
      one.end();
      await clock.advance(waitMs);
      opening.resolve('late');
      await clock.settle();
      assert.equal(signal?.aborted, isAborted);
      assert.equal(manager.closed.length, isAborted ? 0 : 1);
      assert.match(await opened, isAborted ? /has been left/ : /late/);
      await clock.advance(1_000);
    }
  });

  it('keeps the names of the keys that it has read until nobody asks for them', async () => {
    manager.namesKeys = true;
    const one = sequence();
    await one.open('');
    await one.next(3);
    await one.next(2);
    const names = [0, 1, 2, 3, 4].map((number) => keyName(3, number));
    assert.deepEqual(one.namesOf(0, 5), names);
    one.forgetNames(2);
    assert.deepEqual(one.namesOf(2, 3), names.slice(2));
    assert.deepEqual(one.namesOf(0, 1), [new Uint8Array(1)], 'a name that finds nothing');
  });

  it('has no names where the key manager names none', async () => {
    const one = sequence();
    await one.open('');
    await one.next(3);
    assert.deepEqual(one.namesOf(0, 3), []);
  });

  it('fetches the keys that the other end names, in whatever order', async () => {
    const one = sequence();
    await assert.rejects(one.named(0, [keyName(3, 0)]), left);
    await one.open('');
    const keys = await one.named(7, [keyName(3, 7), keyName(3, 2)]);
    assert.deepEqual(keys, Buffer.concat([keysFrom(3, 7, 1), keysFrom(3, 2, 1)]));
    assert.deepEqual([manager.fetches.at(-1)?.position, manager.fetches.at(-1)?.count, one.read], [7n, 2, 0]);
    await assert.rejects(one.named(7, [keyName(3, 7)]), /no such key/);
  });

  it('takes no names that are not one for each key, or too long', async () => {
    const wrong: Uint8Array[][] = [
      [keyName(3, 0)],
      [keyName(3, 0), Buffer.alloc(0)],
      [keyName(3, 0), Buffer.alloc(161)],
    ];
    for (const names of wrong) {
      const one = sequence();
      await one.open('');
      const { fetch } = manager;
      manager.fetch = async (fetches) => ({ ...(await fetch.call(manager, fetches)), names: [names] });
      await assert.rejects(one.next(2), /named the keys otherwise/);
      assert.ok(manager.given.at(-1)?.every((byte) => byte === 0));
      manager.fetch = fetch;
    }
  });

  it('wipes what it has fetched by name when it has ended meanwhile', async () => {
    const one = sequence();
    await one.open('');
    manager.onFetch = async (keys) => {
      one.end();
      return keys;
    };
    await assert.rejects(one.named(0, [keyName(3, 0)]), left);
    assert.ok(manager.given.at(-1)?.every((byte) => byte === 0));
  });
});
