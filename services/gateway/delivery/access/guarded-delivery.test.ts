import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { AccessConfig } from '#common/config/access/access-section.ts';
import { Secret } from '#common/crypto/secret.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { ALICE, BOB } from '#test/helpers/openings.ts';
import { keyStream, LIVING } from '#test/helpers/streams.ts';
import type { Owner } from '../../streams/owner.ts';
import { type RefusedRequest, StreamEvents } from '../../streams/stream-events.ts';
import type { Delivered, GetKey, KeyDelivery, OpenConnect, StreamDirectory } from '../key-delivery.ts';
import { ClientAccounts } from './client-accounts.ts';
import { ClientList } from './client-list.ts';
import { GuardedDelivery } from './guarded-delivery.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const TIMEOUT_MS = 5_000;

const own: Owner = { identity: 'spiffe://apps/own', address: '192.0.2.1:1' };
const other: Owner = { identity: 'spiffe://apps/other', address: '192.0.2.2:1' };

let clock: FakeClock;
let refused: RefusedRequest[];
/** What the delivery behind it was asked for. */
let asked: GetKey[];
/** What it gives; a key at once unless a test says otherwise. */
let give: (request: GetKey) => Delivered | Promise<Delivered>;
/** What an OPEN_CONNECT comes to. */
let opening: Promise<void>;
let opened: ReturnType<typeof keyStream>[];
let given: Secret[];

beforeEach(() => {
  [clock, refused, asked, opened, given] = [new FakeClock(), [], [], [], []];
  opening = Promise.resolve();
  give = key;
});

function key(): Delivered {
  const secret = new Secret(Buffer.alloc(32, 1));
  given.push(secret);
  return { index: given.length - 1, key: secret, metadata: '' };
}

function guarded({ clients, default_quota: defaults }: AccessConfig, most = 100) {
  const list = clients && new ClientList(clients, ALICE);
  const accounts = new ClientAccounts({ list, defaults, most, clock });
  const events = new StreamEvents([accounts, { refused: (request) => refused.push(request) }], (thrown) => {
    throw thrown;
  });
  const streamOf = (owner: Owner) =>
    opened.find((stream) => !stream.ended && stream.owner?.identity === owner.identity);
  const inner: KeyDelivery & Pick<StreamDirectory, 'status'> = {
    open: async ({ owner }: OpenConnect) => {
      await opening;
      const stream = keyStream({ events, clock });
      opened.push(stream);
      stream.join(owner);
      return { ksid: KSID, qos: stream.qos, adjusted: undefined };
    },
    getKey: (request) => {
      asked.push(request);
      return give(request);
    },
    close: ({ owner }) => streamOf(owner)?.end(new KeyweaveError('UNKNOWN_STREAM', 'closed')),
    status: ({ owner }) => {
      const stream = streamOf(owner);
      if (!stream) throw new KeyweaveError('UNKNOWN_STREAM', 'unknown');
      return { qos: { ...stream.qos, timeoutMs: TIMEOUT_MS } } as ReturnType<StreamDirectory['status']>;
    },
  };
  const delivery = new GuardedDelivery(inner, { list, accounts, events, clock });
  const open = (owner = own, change: Partial<OpenConnect> = {}) =>
    delivery.open({
      ...{ source: `hybrid://app@${ALICE}`, destination: `hybrid://app@${BOB}`, owner, signal: LIVING },
      ...{ presence: 'node', defaults: { method: 'xoring', keySources: [] } },
      qos: keyStream().qos,
      ...change,
    });
  const get = (owner = own, change: Partial<GetKey> = {}) =>
    delivery.getKey({ ksid: KSID, owner, signal: LIVING, ...change });
  return { delivery, open, get, accounts };
}

const isReason =
  (reason: ErrorReason, words = /./) =>
  (error: unknown) =>
    error instanceof KeyweaveError && error.reason === reason && words.test(error.detail);

describe('the allow list before the delivery', () => {
  it('tells a client that it may not, and those who listen what is missing', async () => {
    const { open } = guarded({ clients: [{ identity: own.identity as string, applications: ['app'] }] });
    await open();
    await assert.rejects(
      open(other),
      isReason('NOT_ALLOWED', /^this client is not allowed to open this stream$/),
    );
    await assert.rejects(open(own, { source: `hybrid://x@${ALICE}` }), isReason('NOT_ALLOWED'));
    assert.deepEqual(
      refused.map(({ call, owner, error }) => [call, owner, error.reason]),
      [
        ['open', other, 'NOT_ALLOWED'],
        ['open', own, 'NOT_ALLOWED'],
      ],
    );
    assert.match(refused[0]?.error.detail ?? '', /access\.clients has no entry for "spiffe:\/\/apps\/other"/);
    assert.match(refused[1]?.error.detail ?? '', /access\.clients\.0\.applications/);
    assert.equal(opened.length, 1);
  });

  it('is not for streams of listeners, nor for those who only use what is theirs', async () => {
    const { open, get, delivery } = guarded({ clients: [] });
    const listener: Owner = { identity: 'listeners.rest, for SAEs', address: '' };
    await open(listener, { byListener: { readyKeys: 1 } });
    assert.ok(get({ ...listener, onBehalfOf: 'a' }));
    assert.ok(get());
    delivery.close({ ksid: KSID, owner: own });
    await assert.rejects(open(), isReason('NOT_ALLOWED'));
  });
});

describe('quotas', () => {
  it('of streams hold until one is over, each client for itself', async () => {
    const { open, delivery } = guarded({ default_quota: { streams: 2 } });
    await open();
    const slow = Promise.withResolvers<void>();
    opening = slow.promise;
    const second = open();
    await assert.rejects(
      open(),
      isReason('LIMIT_EXCEEDED', /2 open streams \(access\.default_quota\.streams\)/),
    );
    slow.resolve();
    await second;
    await assert.rejects(open(), isReason('LIMIT_EXCEEDED'));
    await open(other);
    delivery.close({ ksid: KSID, owner: own });
    await open();
    await assert.rejects(open(), isReason('LIMIT_EXCEEDED'));
    assert.deepEqual(
      refused.map(({ call }) => call),
      ['open', 'open', 'open'],
    );
  });

  it('of streams count none that was not opened', async () => {
    const { open } = guarded({ default_quota: { streams: 1 } });
    opening = Promise.reject(new KeyweaveError('TIMEOUT', 'nobody came'));
    for (let i = 0; i < 3; i++) await assert.rejects(open(), isReason('TIMEOUT'));
    opening = Promise.resolve();
    await open();
  });

  it('of keys a second give a second of them at once, and then those at the rate within the timeout', async () => {
    const { open, get } = guarded({ default_quota: { keys_per_second: 2 } });
    await open();
    await open(other);
    for (let i = 0; i < 2; i++) assert.ok(!(get() instanceof Promise));
    const late = get();
    assert.ok(late instanceof Promise);
    assert.ok(!(get(other) instanceof Promise), 'another one is not held up');
    assert.equal(given.length, 3);
    await clock.advance(499);
    assert.equal(given.length, 3);
    await clock.advance(10);
    assert.equal((await late).index, 3);
    assert.equal(asked.at(-1)?.waitedMs, 500);
  });

  it('of keys a second refuse, and take no key, where none is due in time', async () => {
    const { open, get } = guarded({ default_quota: { keys_per_second: 1 } });
    await open();
    get();
    const late = Array.from({ length: 5 }, () => get());
    await assert.rejects(async () => get(), isReason('INSUFFICIENT_KEY', /1 keys a second.* in 6000 ms/));
    await assert.rejects(async () => get(own, { waitedMs: 4_999 }), isReason('INSUFFICIENT_KEY'));
    assert.equal(refused.length, 2);
    await clock.advance(5_010);
    assert.equal((await Promise.all(late)).length, 5);
    assert.equal(given.length, 6);
  });

  it('of keys a second are not used up by requests that get none', async () => {
    const { open, get } = guarded({ default_quota: { keys_per_second: 1 } });
    await open();
    const error = new KeyweaveError('TIMEOUT', 'no key');
    for (let i = 0; i < 3; i++) {
      give = () => {
        throw error;
      };
      assert.throws(() => get(), error);
      give = () => Promise.reject(error);
      await assert.rejects(async () => get(), error);
    }
    give = key;
    get();
    const gone = new AbortController();
    const late = get(own, { signal: gone.signal });
    gone.abort();
    await assert.rejects(async () => late, isReason('TIMEOUT', /gone away/));
    await clock.advance(1_000);
    assert.ok(!(get() instanceof Promise));
    assert.equal(given.length, 2);
  });

  it('have one who is over its rate learn of streams that are not its own as ever: at once', async () => {
    const { open, get, delivery } = guarded({ default_quota: { keys_per_second: 1 } });
    await open();
    get();
    delivery.close({ ksid: KSID, owner: own });
    await assert.rejects(async () => get(), isReason('UNKNOWN_STREAM'));
    assert.equal(clock.pending, 0);
  });

  it('of waiting requests are for OPEN_CONNECT and GET_KEY together; what is ready is given all the same', async () => {
    const { open, get } = guarded({ default_quota: { waiting_requests: 2 } });
    await open();
    const coming = Promise.withResolvers<Delivered>();
    give = ({ signal }) => (signal.aborted ? Promise.reject(new Error('gone')) : coming.promise);
    const waiting = get();
    const slow = Promise.withResolvers<void>();
    opening = slow.promise;
    const second = open();
    assert.throws(() => get(), isReason('LIMIT_EXCEEDED', /2 requests that wait/));
    await assert.rejects(open(), isReason('LIMIT_EXCEEDED'));
    give = key;
    assert.ok(!(get() instanceof Promise));
    opening = Promise.resolve();
    await open(other);
    slow.resolve();
    coming.resolve(key());
    await Promise.all([waiting, second]);
    give = () => coming.promise;
    await get();
  });

  it('of a family are for each of its members; what an entry leaves out is that of all', async () => {
    const applications = ['*'];
    const { open } = guarded({
      clients: [
        { identity: 'spiffe://apps/*', applications, quota: { streams: 1 } },
        { identity: 'anonymous', applications },
      ],
      default_quota: { streams: 5, waiting_requests: 1 },
    });
    await open();
    await assert.rejects(open(), isReason('LIMIT_EXCEEDED', /access\.clients\.0\.quota\.streams/));
    await open(other);
    const slow = Promise.withResolvers<void>();
    opening = slow.promise;
    const third: Owner = { identity: 'spiffe://apps/third', address: '' };
    const waiting = open(third);
    opening = Promise.resolve();
    await assert.rejects(open(third), isReason('LIMIT_EXCEEDED'));
    slow.resolve();
    await waiting;
    // Those without certificates are all one.
    const anonymous: Owner = { identity: undefined, address: '' };
    for (let i = 0; i < 9; i++) await open(anonymous);
  });

  it('forget clients that have nothing any more, and take no more of them than they can remember', async () => {
    const { open, delivery, accounts } = guarded({ default_quota: { keys_per_second: 1 } }, 2);
    await open();
    await open(other);
    const third: Owner = { identity: 'spiffe://apps/third', address: '' };
    await assert.rejects(open(third), isReason('LIMIT_EXCEEDED', /2 clients/));
    delivery.getKey({ ksid: KSID, owner: own, signal: LIVING });
    delivery.close({ ksid: KSID, owner: own });
    await assert.rejects(open(third), isReason('LIMIT_EXCEEDED'), 'it would have its keys anew');
    await clock.advance(1_000);
    await open(third);
    assert.equal(accounts.of(own.identity), undefined);
  });
});
