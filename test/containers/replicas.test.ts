import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { run } from './command.ts';
import { allReady, composeOrThrow, containersOf, inspect } from './container-network.ts';
import { until } from './faults.ts';
import { NetworkLoad, RECOVERY_LIMIT_MS } from './network-load.ts';

const REPLICAS = 3;
const STATELESS = ['qkd-source', 'pqc-source', 'hybridizer', 'peer-broker'].flatMap((name) => [
  `alice-${name}`,
  `bob-${name}`,
]);
/** Names are looked up again every 5 s, and streams of key pairs opened anew every minute; calls are few, since batches are large. */
const SHARE_LIMIT_MS = 120_000;
/** A replica that gets less than this share of the bytes of its service is idle. */
const LEAST_SHARE = 0.1;

let load: NetworkLoad;

before(async () => {
  await allReady();
  load = await NetworkLoad.start();
});
after(async () => {
  await load.stop('replicas');
  await scaleTo(1);
});

async function scaleTo(replicas: number): Promise<void> {
  const scale = STATELESS.flatMap((service) => ['--scale', `${service}=${replicas}`]);
  await composeOrThrow('up', '-d', '--no-build', '--no-recreate', ...scale);
}

async function expectNoTrouble(what: () => Promise<void>): Promise<string> {
  const { breaches, recoveryMs, lost, failed, requests } = await load.judge(what);
  assert.deepEqual(breaches, []);
  assert.deepEqual(lost, []);
  assert.ok(recoveryMs !== undefined && recoveryMs <= RECOVERY_LIMIT_MS, `recovery ${recoveryMs} ms`);
  return `${failed} of ${requests} requests brought no key; recovery ${recoveryMs} ms`;
}

describe('three replicas of each stateless service of two nodes, under a load of 50 keys/s', () => {
  it('join without a stream lost', async (test) => {
    test.diagnostic(await expectNoTrouble(() => scaleTo(REPLICAS)));
    await allReady();
    for (const service of STATELESS) assert.equal((await containersOf(service)).length, REPLICAS, service);
  });

  it('all get their share of the work', async (test) => {
    const ids = new Map<string, string[]>();
    for (const service of STATELESS) ids.set(service, await containersOf(service));
    const since = new Map<string, number>();
    for (const id of [...ids.values()].flat()) since.set(id, await receivedBytes(id));
    let shares = new Map<string, number[]>();
    const everyOneWorks = async () => {
      shares = new Map();
      for (const [service, replicas] of ids) shares.set(service, await sharesOf(replicas, since));
      return [...shares.values()].flat().every((share) => share >= LEAST_SHARE);
    };
    const all = await until('every replica works', everyOneWorks, SHARE_LIMIT_MS).catch(
      (error: Error) => error,
    );
    for (const [service, of] of shares)
      test.diagnostic(`${service}: ${of.map((share) => share.toFixed(2)).join(' ')}`);
    assert.equal(all, undefined);
  });

  it('die, one of each, without a stream lost', async (test) => {
    const said = await expectNoTrouble(async () => {
      for (const service of STATELESS) {
        const [victim = ''] = await containersOf(service);
        process.kill((await inspect(victim)).State.Pid, 'SIGKILL');
      }
    });
    test.diagnostic(said);
  });

  it('leave without a stream lost', async (test) => {
    test.diagnostic(await expectNoTrouble(() => scaleTo(1)));
    for (const service of STATELESS) assert.equal((await containersOf(service)).length, 1, service);
  });
});

/** Shares of the bytes that the replicas of a service have received since then. */
async function sharesOf(replicas: readonly string[], since: ReadonlyMap<string, number>): Promise<number[]> {
  const received: number[] = [];
  for (const id of replicas) received.push((await receivedBytes(id)) - (since.get(id) ?? 0));
  const total = received.reduce((sum, bytes) => sum + bytes, 0);
  return received.map((bytes) => (total === 0 ? 0 : bytes / total));
}

/** Bytes that have come in over all networks of a container. */
async function receivedBytes(id: string): Promise<number> {
  const { State } = await inspect(id);
  const table = await run('nsenter', ['--target', `${State.Pid}`, '--net', 'cat', '/proc/self/net/dev']);
  return [...table.matchAll(/^\s*eth\d+:\s*(\d+)/gm)].reduce((sum, match) => sum + Number(match[1]), 0);
}
