import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SERVICE_NAMES, type ServiceName } from '#common/config/node-config.ts';
import { type Judgement, RECOVERY_LIMIT_MS } from '../helpers/load-judge.ts';
import { ClusterLoad } from './cluster-load.ts';
import { kubectl, NEXT_TAG, until } from './kubernetes.ts';
import { deploymentOf, helmOrThrow, pods, RELEASES, type Release, STATELESS, settled } from './releases.ts';

const ROLLOUT_LIMIT = '--timeout=120s';
const NEW_STREAM_LIMIT_MS = 5_000;
const [alice, bob, charlie] = RELEASES;

let load: ClusterLoad;

before(async () => {
  for (const release of RELEASES) await settled(release);
  load = await ClusterLoad.start([
    [alice, bob],
    [alice, charlie],
    [bob, charlie],
  ]);
});
after(() => load?.stop('upgrades'));

/** Replaces the pods of one service as its Deployment does, and waits until the old ones have gone. */
async function roll(release: Release, service: ServiceName): Promise<void> {
  const args = [`deployment/${deploymentOf(release, service)}`, `--namespace=${release.namespace}`];
  await kubectl('rollout', 'restart', ...args);
  await kubectl('rollout', 'status', ...args, ROLLOUT_LIMIT);
  await settled(release);
}

function told({ recoveryMs, requests, failed, lost }: Judgement): string {
  return `${failed} of ${requests} requests brought no key; recovery ${recoveryMs} ms; ${lost.length} losses`;
}

function assertRecovered({ breaches, recoveryMs }: Judgement): void {
  assert.deepEqual(breaches, []);
  assert.ok(recoveryMs !== undefined && recoveryMs <= RECOVERY_LIMIT_MS, `recovery ${recoveryMs} ms`);
}

/** Streams of a gateway that was replaced end in words, and those of others go on. */
function assertLostOnlyOf(release: Release, { lost }: Judgement): void {
  for (const { between, message } of lost) {
    assert.ok(
      between.includes(release.name),
      `${between} lost a stream that does not live at ${release.name}`,
    );
    assert.match(message, /\w+ \w+/, 'a loss is told in words');
  }
}

/** How long no application of a node had a new stream, from its first failure on. */
function longestGapMs(fromMs: number): number {
  const byApplication = Map.groupBy(load.since(fromMs), ({ application }) => application);
  const gaps = [...byApplication.values()].map((entries) => {
    const failedAt = entries.find(({ op, status }) => op === 'GET_KEY' && status !== 0)?.answeredMs;
    if (failedAt === undefined) return 0;
    const opened = entries.find(
      ({ op, status, answeredMs }) => op === 'OPEN_CONNECT' && status === 0 && answeredMs > failedAt,
    );
    return opened ? opened.answeredMs - failedAt : 0;
  });
  return Math.max(...gaps);
}

describe('a rolling upgrade under a load of 50 keys/s', () => {
  for (const service of STATELESS) {
    it(`of the ${service} loses no request and no stream`, async (test) => {
      const judgement = await load.judge(() => roll(bob, service));
      test.diagnostic(told(judgement));
      assertRecovered(judgement);
      assert.ok(judgement.requests > 500, `only ${judgement.requests} requests`);
      assert.deepEqual(judgement.lost, []);
      assert.equal(judgement.failed, 0);
    });
  }

  it('of the gateway ends its streams in words, and new ones are there within 5 s', async (test) => {
    const beganMs = Date.now();
    const judgement = await load.judge(() => roll(bob, 'gateway'));
    const gapMs = longestGapMs(beganMs);
    test.diagnostic(`${told(judgement)}; without a stream for ${gapMs} ms at most`);
    assertRecovered(judgement);
    assertLostOnlyOf(bob, judgement);
    assert.equal(new Set(judgement.lost.map(({ between }) => between.join())).size, 2);
    assert.ok(gapMs > 0 && gapMs <= NEW_STREAM_LIMIT_MS, `${gapMs} ms`);
  });

  it('of a whole release to another image, by helm upgrade', async (test) => {
    const before = new Set((await pods(alice)).map(({ metadata }) => metadata.uid));
    const judgement = await load.judge(async () => {
      const changes = [`--set=image.tag=${NEXT_TAG}`, '--set=pods.annotations.upgrade=next'];
      await helmOrThrow('upgrade', alice, ...changes, '--wait', ROLLOUT_LIMIT);
      await settled(alice);
    });
    test.diagnostic(told(judgement));
    assertRecovered(judgement);
    assertLostOnlyOf(alice, judgement);
    const stayed = (await pods(alice)).filter(({ metadata }) => before.has(metadata.uid));
    assert.deepEqual(stayed, []);
  });
});

describe('pods that are taken away under that load', () => {
  for (const service of SERVICE_NAMES) {
    it(`all of the ${service}: deleted, they are back and keys with them`, async (test) => {
      const judgement = await load.judge(async () => {
        const names = (await pods(charlie, service)).map(({ metadata }) => metadata.name);
        await kubectl('delete', 'pods', `--namespace=${charlie.namespace}`, '--wait=false', ...names);
        await settled(charlie);
      });
      test.diagnostic(told(judgement));
      assertRecovered(judgement);
      if (service === 'gateway') assertLostOnlyOf(charlie, judgement);
      else assert.deepEqual(judgement.lost, []);
    });
  }

  for (const service of STATELESS) {
    it(`of the ${service}, killed at once: no stream is lost`, async (test) => {
      const judgement = await load.judge(async () => {
        const [victim] = await pods(charlie, service);
        const name = victim?.metadata.name ?? '';
        await kubectl(
          'delete',
          'pod',
          `--namespace=${charlie.namespace}`,
          '--grace-period=0',
          '--force',
          name,
        );
        await until(
          'it has gone',
          async () => (await pods(charlie)).every(({ metadata }) => metadata.name !== name),
          30_000,
        );
        await settled(charlie);
      });
      test.diagnostic(told(judgement));
      assertRecovered(judgement);
      assert.deepEqual(judgement.lost, []);
    });
  }

  it('has given keys at both ends all along', () => {
    const { both, alone } = load.deliveries;
    assert.ok(both > 1000, `${both} keys at both ends`);
    assert.ok(alone < both / 20, `${alone} keys at one end only`);
  });
});
