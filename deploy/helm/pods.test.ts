import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { helm, type KubernetesObject, NODE, PEER, render, VALUE_SETS, type Values } from './rendered.ts';

const LEAST = { node: { uuid: NODE }, kmeSimulator: { enabled: true } };

const deploymentsOf = (objects: readonly KubernetesObject[]) =>
  new Map(
    objects
      .filter(({ kind }) => kind === 'Deployment')
      .map((object) => [object.metadata.labels?.['app.kubernetes.io/component'] ?? '', object]),
  );

/** Components whose pods are replaced when values change so. */
async function replacedBy(before: Values, after: Values): Promise<string[]> {
  const [old, next] = [deploymentsOf(await render(before)), deploymentsOf(await render(after))];
  const template = (object: KubernetesObject | undefined) => JSON.stringify(object?.spec.template);
  return [...next]
    .filter(([name, object]) => template(object) !== template(old.get(name)))
    .map(([name]) => name);
}

describe("the chart's pods", { skip: helm.missing }, () => {
  for (const [name, values] of Object.entries(VALUE_SETS))
    it(`are as the Pod Security level restricted asks, and more: ${name}`, async () => {
      const objects = await render(values);
      const pods = objects.flatMap(({ kind, spec }) =>
        kind === 'Deployment' ? [spec.template.spec] : kind === 'Pod' ? [spec] : [],
      );
      assert.ok(pods.length >= 5);
      for (const pod of pods) {
        assert.equal(pod.automountServiceAccountToken, false);
        assert.equal(pod.hostNetwork ?? pod.hostPID ?? pod.hostIPC ?? pod.initContainers, undefined);
        assert.deepEqual(pod.securityContext, {
          ...{ runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000 },
          seccompProfile: { type: 'RuntimeDefault' },
        });
        for (const container of pod.containers) {
          assert.deepEqual(container.securityContext, {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          });
          assert.equal(container.resources.limits.memory, container.resources.requests.memory);
          assert.ok((container.volumeMounts ?? []).every(({ readOnly }: { readOnly: boolean }) => readOnly));
        }
        for (const volume of pod.volumes ?? [])
          assert.ok(volume.projected ?? volume.secret ?? volume.downwardAPI, JSON.stringify(volume));
      }
    });

  it('see the key of their own service only', async () => {
    for (const [component, { spec }] of deploymentsOf(await render(LEAST))) {
      if (component === 'kme-simulator') continue;
      const [, certificates] = spec.template.spec.volumes;
      const secrets = certificates.projected.sources.flatMap(
        ({ secret }: { secret?: object }) => secret ?? [],
      );
      assert.deepEqual(
        secrets.map(({ name }: { name: string }) => name),
        [`alice-keyweave-${component}-tls`],
      );
    }
  });

  it('are probed on the health port', async () => {
    for (const service of SERVICE_NAMES) {
      const [container] =
        deploymentsOf(await render(LEAST)).get(service)?.spec.template.spec.containers ?? [];
      assert.deepEqual(
        ['startupProbe', 'livenessProbe', 'readinessProbe'].map((probe) => container[probe].httpGet),
        ['/startupz', '/livez', '/readyz'].map((path) => ({ path, port: 'health' })),
      );
    }
  });

  it('are replaced when the configuration changes, all of them', async () => {
    const changed = { ...LEAST, config: { limits: { max_streams: 7 } } };
    assert.deepEqual((await replacedBy(LEAST, changed)).sort(), [...SERVICE_NAMES].sort());
  });

  it('stay when peers, lives of certificates, replicas or policies change', async () => {
    const byManager = { source: 'cert-manager', certManager: { issuerRef: { name: 'site' } } };
    const before = { ...LEAST, certificates: byManager };
    for (const change of [
      { peers: { [PEER]: { address: { host: 'x', port: 1 } } } },
      {
        certificates: {
          ...byManager,
          certManager: { ...byManager.certManager, duration: '24h', renewBefore: '8h' },
        },
      },
      { services: { hybridizer: { replicas: 5 } } },
      { networkPolicy: { applications: [] } },
      { test: { peer: { uuid: PEER, host: 'bob' } } },
    ])
      assert.deepEqual(await replacedBy(before, { ...before, ...change }), [], JSON.stringify(change));
  });

  it('have the time that a stop takes: the sleep, the grace, and the margin to force it', async () => {
    const values = { ...LEAST, config: { limits: { shutdown_grace: '1m' } }, pods: { leaveSeconds: 20 } };
    const deployments = deploymentsOf(await render(values));
    const graceOf = (name: string) => deployments.get(name)?.spec.template.spec.terminationGracePeriodSeconds;
    assert.deepEqual([graceOf('hybridizer'), graceOf('gateway')], [88, 70]);
    const sleepOf = (name: string) =>
      deployments.get(name)?.spec.template.spec.containers[0].lifecycle.preStop.sleep.seconds;
    assert.deepEqual([sleepOf('hybridizer'), sleepOf('gateway')], [20, 2]);
    const short = { ...LEAST, config: { limits: { shutdown_grace: '1500ms' } } };
    assert.equal(
      deploymentsOf(await render(short)).get('gateway')?.spec.template.spec.terminationGracePeriodSeconds,
      12,
    );
  });

  it('are certified by cert-manager under the SPIFFE ids that the node looks for', async () => {
    const objects = await render(VALUE_SETS['cert-manager, autoscaling, monitoring'] as Values);
    const certificates = objects.filter(({ kind }) => kind === 'Certificate');
    assert.deepEqual(
      certificates.map(({ spec }) => [spec.uris, spec.secretName]).sort(),
      SERVICE_NAMES.map((name) => [
        [`spiffe://qkd.example/node/${NODE}/${name}`],
        `alice-keyweave-${name}-tls`,
      ]).sort(),
    );
  });

  it('are scaled by the autoscaler alone where it is on, the gateway never', async () => {
    const objects = await render(VALUE_SETS['cert-manager, autoscaling, monitoring'] as Values);
    const scaled = objects.filter(({ kind }) => kind === 'HorizontalPodAutoscaler');
    assert.deepEqual(
      scaled.map(({ spec }) => spec.scaleTargetRef.name).sort(),
      ['hybridizer', 'peer-broker', 'pqc-source', 'qkd-source'].map((name) => `alice-keyweave-${name}`),
    );
    const replicas = [...deploymentsOf(objects)].map(([name, { spec }]) => [name, spec.replicas]);
    assert.deepEqual(
      replicas.filter(([, count]) => count !== undefined),
      [['gateway', 1]],
    );
  });

  it('of the simulator say loudly that its keys are not secret, and are not there by default', async () => {
    const simulators = (await render(LEAST)).filter(({ metadata }) =>
      metadata.name.endsWith('kme-simulator'),
    );
    const loud = simulators.filter(({ metadata }) => metadata.annotations?.['keyweave.example/warning']);
    assert.deepEqual(loud.map(({ kind }) => kind).sort(), ['Deployment', 'Service']);
    const without = await render(VALUE_SETS['a key manager by address'] as Values);
    assert.ok(without.every(({ metadata }) => !metadata.name.includes('simulator')));
  });
});
