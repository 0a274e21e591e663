import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { experimental } from '@grpc/grpc-js';
import { REPLICAS_SCHEME, ReplicasResolver } from '#common/grpc/replicas-resolver.ts';

/** What the name stands for now; undefined: it cannot be resolved. */
let addresses: string[] | undefined;
let lookups = 0;
let destroyed = 0;

class FakeDns implements experimental.Resolver {
  readonly #listener: experimental.ResolverListener;
  constructor(_target: experimental.GrpcUri, listener: experimental.ResolverListener) {
    this.#listener = listener;
  }
  static getDefaultAuthority = () => 'fake';
  updateResolution(): void {
    lookups += 1;
    const result: Parameters<experimental.ResolverListener>[0] = addresses
      ? experimental.statusOrFromValue(addresses.map((host) => ({ addresses: [{ host, port: 1 }] })))
      : experimental.statusOrFromError({ code: 14, details: 'no such name' });
    this.#listener(result, {}, null, '');
  }
  destroy(): void {
    destroyed += 1;
  }
}
experimental.registerResolver('fake-dns', FakeDns);

let reports: (number | string)[];
let resolver: ReplicasResolver;

beforeEach(() => {
  mock.timers.enable({ apis: ['setInterval'] });
  addresses = ['10.0.0.1'];
  lookups = 0;
  reports = [];
  resolver = new ReplicasResolver(
    { scheme: 'replicas', path: 'name:1' },
    (endpoints) => {
      reports.push(endpoints.ok ? endpoints.value.length : endpoints.error.details);
      return true;
    },
    {},
    'fake-dns',
  );
  resolver.updateResolution();
});
afterEach(() => {
  resolver.destroy();
  mock.timers.reset();
});

describe('ReplicasResolver', () => {
  it('reports replicas that join and leave without being asked', () => {
    addresses = ['10.0.0.1', '10.0.0.2'];
    mock.timers.tick(5_000);
    addresses = ['10.0.0.2'];
    mock.timers.tick(5_000);
    assert.deepEqual(reports, [1, 2, 1]);
  });

  it('is silent while nothing changes, whatever the order of the addresses', () => {
    addresses = ['10.0.0.1', '10.0.0.2'];
    mock.timers.tick(5_000);
    addresses = ['10.0.0.2', '10.0.0.1'];
    mock.timers.tick(20_000);
    assert.deepEqual(reports, [1, 2]);
    assert.ok(lookups >= 5, `${lookups} lookups`);
  });

  it('reports even the same when it is asked, as after a lost connection', () => {
    resolver.updateResolution();
    assert.deepEqual(reports, [1, 1]);
  });

  it('reports a failure, and the same addresses after it', () => {
    const before = addresses;
    addresses = undefined;
    mock.timers.tick(5_000);
    addresses = before;
    mock.timers.tick(5_000);
    assert.deepEqual(reports, [1, 'no such name', 1]);
  });

  it('looks no more once it is destroyed', () => {
    resolver.destroy();
    const seen = lookups;
    mock.timers.tick(60_000);
    assert.equal(lookups, seen);
  });

  it('looks once in five seconds however often it is asked', () => {
    for (let i = 0; i < 3; i++) resolver.updateResolution();
    const before = lookups;
    mock.timers.tick(4_999);
    assert.equal(lookups, before);
    mock.timers.tick(1);
    assert.equal(lookups, before + 1);
  });

  it('ends what it asks with itself, and reports again when it is asked after that', () => {
    const before = destroyed;
    resolver.destroy();
    assert.equal(destroyed, before + 1);
    resolver.updateResolution();
    assert.deepEqual(reports, [1, 1]);
    const seen = lookups;
    mock.timers.tick(5_000);
    assert.equal(lookups, seen + 1);
  });

  it('keeps no process alive by itself', () => {
    mock.timers.reset();
    const started = mock.method(globalThis, 'setInterval');
    const other = new ReplicasResolver({ scheme: 'x', path: 'y:1' }, () => true, {}, 'fake-dns');
    other.updateResolution();
    const [call] = started.mock.calls;
    started.mock.restore();
    assert.equal(call?.result?.hasRef(), false);
    other.destroy();
  });

  it('is what targets of its scheme get, over the resolver of the transport', async () => {
    mock.timers.reset();
    const target = { scheme: REPLICAS_SCHEME, path: '127.0.0.1:7' };
    assert.equal(REPLICAS_SCHEME, 'replicas');
    assert.equal(ReplicasResolver.getDefaultAuthority(target), target.path);
    const { promise, resolve } = Promise.withResolvers<string[]>();
    const found = experimental.createResolver(
      target,
      (endpoints) => {
        resolve(endpoints.ok ? endpoints.value.map(experimental.endpointToString) : []);
        return true;
      },
      {},
    );
    assert.ok(found instanceof ReplicasResolver);
    found.updateResolution();
    assert.deepEqual(await promise, ['[127.0.0.1:7]']);
    found.destroy();
  });
});
