import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { run } from '../containers/command.ts';
import { HELM, kubectl, listed, until } from './kubernetes.ts';
import { APPLICATIONS, RELEASES } from './releases.ts';

const GONE_LIMIT_MS = 90_000;

/** Kinds that the chart makes. */
const KINDS = [
  ...['deployments', 'replicasets', 'pods', 'services', 'endpointslices', 'serviceaccounts'],
  ...['networkpolicies', 'poddisruptionbudgets', 'horizontalpodautoscalers'],
] as const;

describe('helm uninstall', { concurrency: true }, () => {
  for (const release of RELEASES)
    it(`leaves nothing of ${release.name} but the Secrets that were there before`, async () => {
      await run(HELM, [
        'uninstall',
        release.name,
        '--namespace',
        release.namespace,
        '--wait',
        '--timeout=90s',
      ]);
      const left = async () => {
        const found = await Promise.all(
          KINDS.map(async (kind) =>
            (await listed(kind, release.namespace)).map(({ metadata }) => `${kind} ${metadata.name}`),
          ),
        );
        return found
          .flat()
          .filter((name) => name !== 'serviceaccounts default' && !name.endsWith('keyweave-test'));
      };
      await until(`${release.name} has gone`, async () => (await left()).length === 0, GONE_LIMIT_MS);
      const secrets = (await listed('secrets', release.namespace)).map(({ metadata }) => metadata.name);
      assert.ok(secrets.length === 5 && secrets.every((name) => name.endsWith('-tls')), secrets.join());
    });
});

it('the namespaces of the tests go', async () => {
  const names = [...RELEASES.map(({ namespace }) => namespace), APPLICATIONS];
  await kubectl('delete', 'namespace', '--wait=true', '--timeout=90s', ...names);
});
