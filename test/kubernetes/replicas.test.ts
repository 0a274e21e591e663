import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ServiceName } from '#common/config/node-config.ts';
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

async function scale(release: Release, services: readonly string[], replicas: number): Promise<void> {
  const targets = services.map((service) => `deployment/${deploymentOf(release, service)}`);
  await kubectl('scale', ...targets, `--namespace=${release.namespace}`, `--replicas=${replicas}`);
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
  before(() => scale(alice, STATELESS, 1));
  after(() => scale(alice, STATELESS, 2));

  for (const service of STATELESS)
    it(`the ${service} goes from 1 to 3 and back`, async (test) => {
      const judgement = await load.judge(async () => {
        await scale(alice, [service], 3);
        await scale(alice, [service], 1);
      });
      test.diagnostic(assertNothingLost(judgement));
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

/**
 * Evicts all pods of a service at once, as a drain does: each again and again until the budget allows it.
 *
 * @returns how often it did not.
 */
async function drain(service: ServiceName): Promise<number> {
  let refused = 0;
  const leave = async (pod: string) => {
    const gone = async () => {
      const isGone = (await evict(alice, pod)) === 'gone';
      if (!isGone) refused++;
      return isGone;
    };
    await until(`${pod} may be evicted`, gone, EVICTION_LIMIT_MS);
    if (service === 'gateway') return;
    const serving = (await pods(alice, service)).filter(isReady);
    assert.ok(serving.length > 0, `no ${service} is left to serve`);
  };
  await Promise.all((await pods(alice, service)).map(({ metadata }) => leave(metadata.name)));
  return refused;
}

describe('a drain, by the disruption budgets, under that load', () => {
  it('takes the pods of each stateless service one at a time, those of all services at once', async (test) => {
    let refused: number[] = [];
    const judgement = await load.judge(async () => {
      refused = await Promise.all(STATELESS.map(drain));
      await settled(alice);
    });
    test.diagnostic(`${assertNothingLost(judgement)}; refused evictions: ${refused.join(', ')}`);
    assert.ok(
      refused.every((times) => times > 0),
      'both pods of a service were taken at once',
    );
  });

  it('takes the gateway, and its streams end in words', async (test) => {
    const judgement = await load.judge(async () => {
      await drain('gateway');
      await settled(alice);
    });
    const { breaches, recoveryMs, lost } = judgement;
    test.diagnostic(`recovery ${recoveryMs} ms; ${lost.map(({ message }) => message).join('; ')}`);
    assert.deepEqual(breaches, []);
    assert.ok(recoveryMs !== undefined && recoveryMs <= RECOVERY_LIMIT_MS, `recovery ${recoveryMs} ms`);
    assert.ok(lost.length > 0, 'the gateway has stayed');
    for (const { message } of lost) assert.match(message, /\w+ \w+/);
  });
});
