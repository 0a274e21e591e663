import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { HOME } from '#common/service/installation.ts';
import { attempt } from '../../test/containers/command.ts';
import { helm, type KubernetesObject, render, VALUE_SETS } from './rendered.ts';

/** Where the type of each kind is. A kind that is not here is none that the chart may make. */
const TYPES: Readonly<Record<string, string>> = {
  'v1/Pod': 'kubernetes-models/v1',
  'v1/Secret': 'kubernetes-models/v1',
  'v1/Service': 'kubernetes-models/v1',
  'v1/ServiceAccount': 'kubernetes-models/v1',
  'apps/v1/Deployment': 'kubernetes-models/apps/v1',
  'autoscaling/v2/HorizontalPodAutoscaler': 'kubernetes-models/autoscaling/v2',
  'networking.k8s.io/v1/NetworkPolicy': 'kubernetes-models/networking.k8s.io/v1',
  'policy/v1/PodDisruptionBudget': 'kubernetes-models/policy/v1',
  'cert-manager.io/v1/Certificate': '@kubernetes-models/cert-manager/cert-manager.io/v1',
  'monitoring.coreos.com/v1/ServiceMonitor':
    '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1',
};

const cache = join(HOME, '.cache', 'helm');
mkdirSync(cache, { recursive: true });
const folder = mkdtempSync(join(cache, 'objects-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/**
 * Checks objects as literals of the types of their kinds, by the compiler: it
 * refuses fields that there are not, and values of another type. Gives what it says.
 */
async function compile(objects: readonly KubernetesObject[]): Promise<string> {
  const lines = objects.map((object, i) => {
    const module = TYPES[`${object.apiVersion}/${object.kind}`];
    assert.ok(module, `the chart makes a ${object.apiVersion} ${object.kind}`);
    return `import type { I${object.kind} as T${i} } from '${module}';\nexport const o${i}: T${i} = ${JSON.stringify(object)};\n`;
  });
  writeFileSync(join(folder, 'objects.ts'), lines.join(''));
  const options = {
    extends: `${HOME}tsconfig.json`,
    compilerOptions: { noEmit: true, types: [] },
    include: ['objects.ts'],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(options));
  const { stdout } = await attempt(join(HOME, 'node_modules/.bin/tsc'), ['--project', folder]);
  return stdout;
}

describe("the chart's objects", { skip: helm.missing }, () => {
  for (const [name, values] of Object.entries(VALUE_SETS))
    it(`are of their kinds, with no field that there is not: ${name}`, async () => {
      const objects = await render(values);
      assert.ok(objects.length > 20);
      assert.equal(await compile(objects), '');
    });

  it('are refused with an unknown field, at any depth, or a value of a wrong type', async () => {
    const objects = await render(VALUE_SETS['cert-manager, autoscaling, monitoring'] as object as never);
    const changed = (kind: string, change: (object: KubernetesObject) => void) => {
      const found = structuredClone(objects.find((object) => object.kind === kind)) as KubernetesObject;
      change(found);
      return compile([found]);
    };
    for (const [kind, field, change] of [
      [
        'Deployment',
        'readOnlyRootFileSystem',
        ({ spec }) => {
          spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem = true;
        },
      ],
      [
        'NetworkPolicy',
        'podSelectr',
        ({ spec }) => {
          spec.podSelectr = {};
        },
      ],
      [
        'Certificate',
        'uri',
        ({ spec }) => {
          spec.uri = spec.uris;
        },
      ],
      [
        'ServiceMonitor',
        'intervall',
        ({ spec }) => {
          spec.endpoints[0].intervall = '30s';
        },
      ],
      [
        'PodDisruptionBudget',
        'unhealthyPodEvictionPolicy',
        ({ spec }) => {
          spec.unhealthyPodEvictionPolicy = 7;
        },
      ],
    ] as const satisfies readonly [string, string, (object: KubernetesObject) => void][])
      assert.match(await changed(kind, change), new RegExp(`error.*${field}|error.*'number'`), field);
  });
});
