import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { QkdReference } from '#gen/keyweave/v1/key_agreement.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { FakeKeyManager, keyName, keysFrom, numbersOf } from '#test/helpers/fake-key-manager.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';
import { ReservoirAccount } from './reservoir-account.ts';
import { ResponderReservoir } from './responder-reservoir.ts';

const ID = Buffer.alloc(16, 7);
const MAX_KEYS = 64;

let clock: FakeClock;
let manager: FakeKeyManager;
let account: ReservoirAccount;
let reservoir: ResponderReservoir;
/** Keys that batches have got. */
let got: Buffer[];

beforeEach(() => {
  clock = new FakeClock();
  manager = new FakeKeyManager();
  account = new ReservoirAccount();
  got = [];
  reservoir = new ResponderReservoir({
    tools: {
      ...{ qkd: manager, clock, log: silentLog, join: 'auto' },
      ...{ maxBlockKeys: 16, maxKeys: MAX_KEYS },
    },
    ...{ id: ID, account, initiatorNode: ALICE, responderNode: BOB },
  });
});

afterEach(async () => {
  // Whoever got them has used them.
  for (const keys of got) keys.fill(0);
  const { taken, woven, burned } = account.balance;
  const lost = [...burned.values()].reduce((sum, keys) => sum + keys, 0);
  assert.equal(taken, woven + lost + reservoir.held, 'a key is nowhere, or twice');
  reservoir.end('the test is over');
  await clock.settle();
  assert.equal(reservoir.held, 0);
  for (const keys of manager.given)
    assert.ok(
      keys.every((byte) => byte === 0),
      'a key was not wiped',
    );
});

const reference = (change: Partial<QkdReference> = {}): QkdReference => ({
  ...{ epoch: 0, qkdKeyStreamId: '', position: 0n, blockKeys: 1, reservoir: ID, burned: 0n, read: 0n },
  keyNames: [],
  ...change,
});

/** The batch's keys, or why there are none; not waited for. */
function take(position: number, count: number, change: Partial<QkdReference> = {}, slots = 1) {
  const outcome: { numbers?: number[]; error?: KeyweaveError } = {};
  reservoir.take(reference({ position: BigInt(position), ...change }), count, slots).then(
    (keys) => {
      got.push(keys);
      outcome.numbers = numbersOf(keys);
    },
    (error: KeyweaveError) => {
      outcome.error = error;
    },
  );
  return outcome;
}

/** The same with all that follows without time going by. */
async function taken(...all: Parameters<typeof take>) {
  const outcome = take(...all);
  await clock.settle();
  return outcome;
}

const isRefused = ({ error, numbers }: ReturnType<typeof take>, reason: ErrorReason, words = /./) => {
  assert.equal(numbers, undefined);
  assert.ok(isReason(error, reason), `${error}, not ${reason}`);
  assert.match(`${error?.detail}`, words);
};

const reason = (wanted: ErrorReason) => (error: unknown) => isReason(error, wanted);

describe('the reservoir of a responder', () => {
  it('opens the epoch by the name that the initiator gives, and gives each batch the keys of its numbers', async () => {
    await reservoir.prepare(reference({ qkdKeyStreamId: 'shared' }));
    assert.deepEqual(manager.opened, [
      {
        ...{ keyStreamId: ID, epoch: 0, sourceNode: ALICE, destinationNode: BOB },
        ...{ keyBytes: 32, qkdKeyStreamId: 'shared' },
      },
    ]);
    assert.deepEqual((await taken(0, 3)).numbers, [0, 1, 2]);
    assert.deepEqual((await taken(3, 2)).numbers, [3, 4]);
    assert.deepEqual(got[0], keysFrom(0, 0, 3));
    assert.deepEqual([manager.opened.length, reservoir.held], [1, 0]);
    assert.equal(account.balance.woven, 5);
  });

  it('opens an epoch that a batch names before anybody has announced it', async () => {
    assert.deepEqual((await taken(0, 2, { qkdKeyStreamId: 'shared' })).numbers, [0, 1]);
    assert.equal(manager.opened[0]?.qkdKeyStreamId, 'shared');
  });

  it('gives batches that come in another order theirs, out of one reading at a time', async () => {
    let under = 0;
    let most = 0;
    manager.onFetch = async (keys) => {
      under += 1;
      most = Math.max(most, under);
      await new Promise<void>((resolve) => clock.after(1, resolve));
      under -= 1;
      return keys;
    };
    const outcomes = [take(6, 2), take(0, 3), take(3, 3)];
    await clock.advance(10);
    assert.deepEqual(
      outcomes.map(({ numbers }) => numbers),
      [
        [6, 7],
        [0, 1, 2],
        [3, 4, 5],
      ],
    );
    assert.equal(most, 1);
  });

  it('gives no key twice, whoever asks for it again', async () => {
    await taken(0, 4);
    for (const [position, count] of [
      [0, 4],
      [3, 1],
      [2, 4],
    ] as const) {
      isRefused(await taken(position, count), 'QKD_OUT_OF_STEP', /has been used or burned/);
    }
    assert.deepEqual((await taken(4, 1)).numbers, [4], 'what is refused uses nothing');
  });

  it('keeps what no batch has taken for a later one', async () => {
    await taken(2, 2);
    assert.equal(reservoir.held, 2);
    assert.deepEqual((await taken(0, 2)).numbers, [0, 1]);
  });

  it('burns what the other end has used or burned, and never the keys of the batch that says so', async () => {
    await taken(6, 2);
    assert.equal(reservoir.held, 6);
    assert.deepEqual((await taken(4, 1, { burned: 3n })).numbers, [4]);
    assert.equal(reservoir.held, 2);
    assert.equal(account.balance.burned.get('burned at the other end'), 3);
    isRefused(await taken(2, 1), 'QKD_OUT_OF_STEP');
    assert.deepEqual((await taken(3, 1, { burned: 2n ** 63n })).numbers, [3]);
  });

  it('reads as far as the other end has read, and no farther than it may hold', async () => {
    await taken(0, 1, { read: 10n });
    assert.equal(reservoir.held, 9);
    assert.equal(
      manager.fetches.reduce((sum, { count }) => sum + count, 0),
      10,
    );
    await taken(1, 1, { read: 2n ** 63n });
    assert.ok(reservoir.held <= MAX_KEYS, `${reservoir.held} keys are held`);
  });

  it('holds no more than it may, though batches skip keys on and on', async () => {
    for (let i = 1; i <= 20; i++) await taken(i * MAX_KEYS - 1, 1);
    assert.ok(reservoir.held <= 2 * MAX_KEYS, `${reservoir.held} keys are held`);
  });

  it('refuses what lies farther ahead than it would ever hold, and reads nothing for it', async () => {
    await reservoir.prepare(reference());
    for (const position of [MAX_KEYS, 2 ** 63]) {
      isRefused(await taken(position, 1), 'QKD_OUT_OF_STEP', /this one has read 0/);
    }
    assert.equal(manager.fetches.length, 0);
    assert.deepEqual((await taken(MAX_KEYS - 1, 1)).numbers, [MAX_KEYS - 1]);
  });

  it('wipes what has become too old', async () => {
    await taken(0, 1, { read: 3n });
    await clock.advance(1_000);
    await taken(1, 1, { read: 6n });
    reservoir.burnOlder(1_000);
    assert.equal(reservoir.held, 3);
    isRefused(await taken(2, 1), 'QKD_OUT_OF_STEP');
    assert.deepEqual((await taken(3, 1)).numbers, [3]);
    assert.equal(account.balance.burned.get('too old'), 1);
  });

  it('wipes all when nobody needs it any more, closes at its key manager, and reads nothing after that', async () => {
    await taken(2, 1);
    reservoir.end('over');
    reservoir.end('over');
    await clock.settle();
    assert.deepEqual([reservoir.held, manager.closed.length], [0, 1]);
    assert.deepEqual(manager.closed[0], { keyStreamId: ID, epoch: 0, qkdKeyStreamId: 'kme-0' });
    for (const epoch of [0, 1]) isRefused(await taken(0, 1, { epoch }), 'QKD_OUT_OF_STEP');
    await assert.rejects(reservoir.prepare(reference({ epoch: 2 })), reason('QKD_OUT_OF_STEP'));
    assert.equal(manager.opened.length, 1);
    assert.equal(account.balance.burned.get('over'), 2);
  });

  it('tells a batch that waits when all ends', async () => {
    manager.left = 0;
    const waiting = await taken(0, 1);
    reservoir.end('over');
    await clock.settle();
    isRefused(waiting, 'QKD_OUT_OF_STEP');
    await clock.advance(5_000);
    assert.equal(clock.pending, 0, 'a timer is left');
  });
});

describe('a responder whose key manager', () => {
  it('has too few keys gives a batch those of its first chunks, after a second', async () => {
    manager.left = 5;
    const outcome = take(0, 6, {}, 2);
    await clock.advance(999);
    assert.deepEqual(outcome, {});
    await clock.advance(100);
    assert.deepEqual(outcome.numbers, [0, 1, 2, 3]);
    assert.equal(reservoir.held, 1);
  });

  it('has none says so after a second, and has the keys stay for a later batch', async () => {
    manager.left = 1;
    const outcome = take(0, 4, {}, 2);
    await clock.advance(1_010);
    isRefused(outcome, 'INSUFFICIENT_KEY', /key manager of the other node has run dry/);
    manager.left = 10;
    await clock.advance(1_000);
    assert.deepEqual((await taken(0, 4, {}, 2)).numbers, [0, 1, 2, 3]);
  });

  it('gets keys meanwhile has the batch wait no longer than for them', async () => {
    manager.left = 1;
    const outcome = take(0, 3);
    await clock.advance(100);
    manager.left = 2;
    await clock.advance(260);
    assert.deepEqual(outcome.numbers, [0, 1, 2]);
  });

  it('is dry is asked ever less often while somebody waits, and not at all for nobody', async () => {
    manager.left = 0;
    take(0, 1);
    await clock.advance(1_010);
    const asked = manager.fetches.length;
    assert.ok(asked >= 4 && asked <= 8, `asked ${asked} times in a second`);
    await clock.advance(30_000);
    assert.ok(manager.fetches.length <= asked + 1, 'it is asked on and on for nobody');
  });

  it('does not answer has the batch fail after a second, in words', async () => {
    manager.onFetch = () => new Promise(() => undefined);
    const outcome = take(0, 1);
    await clock.advance(1_010);
    isRefused(outcome, 'QKD_UNAVAILABLE', /did not answer in time/);
  });

  it('does not open has the batch fail after a second, and is not asked twice at a time', async () => {
    manager.onOpen = () => new Promise(() => undefined);
    const outcomes = [take(0, 1), take(1, 1)];
    await clock.advance(1_010);
    for (const outcome of outcomes) isRefused(outcome, 'QKD_UNAVAILABLE');
    assert.equal(manager.opened.length, 1);
  });

  it('refuses to open tells why, at once, and is asked again by the next batch', async () => {
    manager.onOpen = () => Promise.reject(new KeyweaveError('QKD_UNAVAILABLE', 'no link'));
    isRefused(await taken(0, 1), 'QKD_UNAVAILABLE', /no link/);
    await assert.rejects(reservoir.prepare(reference()), /no link/);
    manager.onOpen = async () => 'back';
    assert.deepEqual((await taken(0, 1)).numbers, [0]);
  });

  it('fails without a loss keeps its epoch, and what it has read', async () => {
    await taken(0, 1, { read: 3n });
    manager.onFetch = async () => new KeyweaveError('QKD_UNAVAILABLE', 'gone');
    isRefused(await taken(3, 1), 'QKD_UNAVAILABLE', /gone/);
    assert.deepEqual((await taken(1, 2)).numbers, [1, 2]);
    manager.onFetch = async (keys) => keys;
    assert.deepEqual((await taken(3, 1)).numbers, [3]);
  });

  it('may have lost keys ends the epoch, and burns what is held of it', async () => {
    await taken(0, 1, { read: 3n });
    manager.onFetch = async (keys) => {
      keys.fill(0);
      return new KeyweaveError('TIMEOUT', 'who knows');
    };
    isRefused(await taken(3, 1), 'QKD_OUT_OF_STEP');
    assert.equal(reservoir.held, 0);
    isRefused(await taken(1, 1), 'QKD_OUT_OF_STEP', /has been left/);
    assert.deepEqual(
      manager.closed.map(({ epoch }) => epoch),
      [0],
    );
  });
});

/** A reference to keys that the initiator names. */
const naming = (first: number, count: number, change: Partial<QkdReference> = {}) => ({
  keyNames: Array.from({ length: count }, (_, i) => keyName(0, first + i)),
  ...change,
});

describe('the reservoir of a responder whose key manager names its keys', () => {
  it('fetches exactly the keys of each batch, in whatever order the batches come', async () => {
    assert.deepEqual((await taken(5, 3, naming(5, 3, { read: 20n }))).numbers, [5, 6, 7]);
    assert.deepEqual((await taken(0, 2, naming(0, 2))).numbers, [0, 1]);
    assert.deepEqual(
      manager.fetches.map(({ count }) => count),
      [3, 2],
    );
    assert.deepEqual([reservoir.held, account.balance.taken, account.balance.woven], [0, 5, 5]);
  });

  it('fetches the first keys only, where it makes fewer chunks than were offered', async () => {
    assert.deepEqual((await taken(0, 2, naming(0, 6))).numbers, [0, 1]);
    assert.deepEqual((await taken(2, 4, naming(2, 4))).numbers, [2, 3, 4, 5]);
  });

  it('gives no key twice', async () => {
    await taken(0, 4, naming(0, 4));
    isRefused(await taken(3, 2, naming(3, 2)), 'QKD_OUT_OF_STEP', /has been used/);
    assert.equal(manager.fetches.length, 1);
  });

  it('takes no names that are too few, empty or too long', async () => {
    isRefused(await taken(0, 3, naming(0, 2)), 'BAD_REQUEST', /key_names must be 3, not 2/);
    for (const name of [Buffer.alloc(0), Buffer.alloc(161)]) {
      isRefused(await taken(0, 1, { keyNames: [name] }), 'BAD_REQUEST', /1 to 160 bytes/);
    }
    assert.equal(manager.fetches.length, 0);
  });

  it('remembers no more names than an honest initiator has under way', async () => {
    for (let first = 0; first < 2 * MAX_KEYS; first += 32) {
      assert.equal((await taken(first, 32, naming(first, 32))).numbers?.length, 32);
    }
    const next = 2 * MAX_KEYS;
    isRefused(await taken(next, 1, naming(next, 1)), 'LIMIT_EXCEEDED', /burns none/);
    const burned = BigInt(next);
    assert.deepEqual((await taken(next, 1, naming(next, 1, { burned }))).numbers, [next]);
  });

  it('waits no longer for a silent key manager than for one that reads in sequence, and wipes what comes late', async () => {
    const late = Promise.withResolvers<void>();
    manager.onFetch = async (keys) => {
      await late.promise;
      return keys;
    };
    const outcome = take(0, 2, naming(0, 2));
    await clock.advance(1_010);
    isRefused(outcome, 'QKD_UNAVAILABLE', /did not answer in time/);
    late.resolve();
    await clock.settle();
    assert.deepEqual(account.balance.burned.get('came too late'), 2);
  });

  it('says why the key manager does not give them', async () => {
    manager.onFetch = async () => new KeyweaveError('QKD_UNAVAILABLE', 'not found on KME');
    isRefused(await taken(0, 2, naming(0, 2)), 'QKD_UNAVAILABLE', /not found on KME/);
  });
});
