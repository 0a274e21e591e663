import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { type Judgement, RECOVERY_LIMIT_MS } from '../helpers/load-judge.ts';
import { ClusterLoad } from './cluster-load.ts';
import { attemptKubectl, isReady, kubectl, until } from './kubernetes.ts';
import { deploymentOf, pods, RELEASES, type Release, STATELESS, settled } from './releases.ts';

const EVICTION_LIMIT_MS = 90_000;
const [alice, bob] = RELEASES;

let load: ClusterLoad;

before(async () => {
  for (const release of RELEASES) await settled(release);
  load = await ClusterLoad.start([[alice, bob]]);
});
after(() => load?.stop('replicas'));

async function scale(release: Release, service: string, replicas: number): Promise<void> {
  const target = `deployment/${deploymentOf(release, service)}`;
  await kubectl('scale', target, `--namespace=${release.namespace}`, `--replicas=${replicas}`);
  await settled(release);
}

function assertNothingLost(judgement: Judgement): string {
  const { breaches, recoveryMs, lost, failed, requests } = judgement;
  assert.deepEqual(breaches, []);
  assert.deepEqual(lost, []);
  assert.ok(recoveryMs !== undefined && recoveryMs <= RECOVERY_LIMIT_MS, `recovery ${recoveryMs} ms`);
  return `${failed} of ${requests} requests brought no key; recovery ${recoveryMs} ms`;
}

describe('replicas of stateless services, under a load of 50 keys/s', () => {
  for (const service of STATELESS)
    it(`the ${service} goes from 1 to 3 and back`, async (test) => {
      await scale(alice, service, 1);
      const judgement = await load.judge(async () => {
        await scale(alice, service, 3);
        await scale(alice, service, 1);
      });
      test.diagnostic(assertNothingLost(judgement));
      await scale(alice, service, 2);
    });
});

/** What `kubectl drain` asks for; the answer's code of HTTP. */
async function evict({ namespace }: Release, pod: string): Promise<'gone' | 'refused'> {
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: pod, namespace } };
  const path = `/api/v1/namespaces/${namespace}/pods/${pod}/eviction`;
  const { code, stderr } = await attemptKubectl(['create', '--raw', path, '--filename=-'], {
    input: JSON.stringify(eviction),
  });
  if (code === 0) return 'gone';
  assert.match(stderr, /disruption budget/);
  return 'refused';
}

describe('a drain, by the disruption budgets', () => {
  for (const service of SERVICE_NAMES)
    it(`takes the pods of the ${service} one at a time`, async (test) => {
      let refused = 0;
      const judgement = await load.judge(async () => {
        for (const { metadata } of await pods(alice, service)) {
          await until(
            `${metadata.name} may be evicted`,
            async () => {
              const gone = (await evict(alice, metadata.name)) === 'gone';
              if (!gone) refused++;
              return gone;
            },
            EVICTION_LIMIT_MS,
          );
          if (service === 'gateway') continue;
          const serving = (await pods(alice, service)).filter(isReady);
          assert.ok(serving.length > 0, 'none is left to serve');
        }
        await settled(alice);
      });
      if (service !== 'gateway') {
        test.diagnostic(`${assertNothingLost(judgement)}; ${refused} evictions were refused meanwhile`);
        assert.ok(refused > 0, 'both were taken at once');
        return;
      }
      assert.deepEqual(judgement.breaches, []);
      assert.ok(judgement.recoveryMs !== undefined && judgement.recoveryMs <= RECOVERY_LIMIT_MS);
      for (const { message } of judgement.lost) assert.match(message, /\w+ \w+/);
    });
});
