import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ServiceName } from '#common/config/node-config.ts';
import { HOME } from '#common/service/installation.ts';
import { attempt, type CommandResult, run } from '../containers/command.ts';
import type { LoadedNode } from '../helpers/pair-load.ts';
import {
  type ApiObject,
  HELM,
  isReady,
  KUBECTL,
  kubectl,
  listed,
  REPOSITORY,
  TAG,
  until,
} from './kubernetes.ts';

export const CHART = join(HOME, 'deploy', 'helm', 'keyweave');

/** Services with any number of replicas. */
export const STATELESS = [
  'qkd-source',
  'pqc-source',
  'peer-broker',
  'hybridizer',
] as const satisfies ServiceName[];

const NAMES = ['alice', 'bob', 'charlie'] as const;

export type ReleaseName = (typeof NAMES)[number];

/** One release, in a namespace of its own: one node. */
export interface Release {
  readonly name: ReleaseName;
  readonly namespace: string;
  readonly uuid: string;
}

/** Where the tests' applications run. */
export const APPLICATIONS = 'keyweave-test-applications';

export const RELEASES = NAMES.map(
  (name): Release => ({
    name,
    namespace: `keyweave-test-${name}`,
    uuid: 'xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx'.replaceAll('x', name[0] as string),
  }),
) as [Release, Release, Release];

export const CERTIFICATES = join(HOME, '.cache', 'kubernetes', 'certificates');

/** The node as an application in the cluster finds it. */
export const loaded = ({ name, namespace, uuid }: Release): LoadedNode => ({
  ...{ name, uuid },
  json: { host: `${name}-keyweave.${namespace}.svc`, port: 65_430 },
});

const podsOf = (component: string) => ({
  namespaceSelector: {},
  podSelector: {
    matchLabels: { 'app.kubernetes.io/name': 'keyweave', 'app.kubernetes.io/component': component },
  },
});

/** The least that must be given; the first release has the simulated key managers of all. */
export function valuesOf(release: Release): object {
  const [first, second] = RELEASES;
  const others = RELEASES.filter((other) => other !== release);
  const peers = others.map(({ name, namespace, uuid }) => [
    uuid,
    { address: { host: `${name}-keyweave-peers.${namespace}.svc`, port: 3001 } },
  ]);
  const peer = release === first ? second : first;
  return {
    node: { uuid: release.uuid },
    peers: Object.fromEntries(peers),
    image: { repository: REPOSITORY, tag: TAG },
    networkPolicy: {
      applications: [APPLICATIONS, ...RELEASES.map(({ namespace }) => namespace)].map((name) => ({
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': name } },
      })),
      keyManager: release === first ? [] : [podsOf('kme-simulator')],
    },
    ...(release === first
      ? { kmeSimulator: { enabled: true, ends: RELEASES.length } }
      : {
          keyManager: {
            host: `${first.name}-keyweave-kme-simulator.${first.namespace}.svc`,
            port: 54_000 + RELEASES.indexOf(release),
          },
        }),
    test: { peer: { uuid: peer.uuid, ...loaded(peer).json } },
  };
}

/** helm with the values of a release, and some over them. */
export function helm(command: 'install' | 'upgrade' | 'template', release: Release, ...args: string[]) {
  return attempt(
    HELM,
    [command, release.name, CHART, '--namespace', release.namespace, '--values=-', ...args],
    {
      input: JSON.stringify(valuesOf(release)),
    },
  );
}

export async function helmOrThrow(...all: Parameters<typeof helm>): Promise<string> {
  const { code, stdout, stderr } = await helm(...all);
  if (code !== 0) throw new Error(`helm ${all[0]} ended with ${code}: ${stderr}`);
  return stdout;
}

/** Namespaces that enforce the level `restricted`. */
export async function makeNamespace(name: string): Promise<void> {
  const level = 'pod-security.kubernetes.io';
  await kubectl('create', 'namespace', name);
  await kubectl(
    'label',
    'namespace',
    name,
    ...['enforce', 'warn', 'audit'].map((mode) => `${level}/${mode}=restricted`),
  );
}

/** Issues the certificates of a release, anew where that is asked for, and puts them into its Secrets. */
export async function issueCertificates({ name, namespace, uuid }: Release, anew = false): Promise<void> {
  if (anew) rmSync(join(CERTIFICATES, 'issued', `${name}-keyweave`), { recursive: true, force: true });
  await run('deploy/helm/certificates', [namespace, name, uuid], {
    cwd: HOME,
    env: { KEYWEAVE_CERTS: CERTIFICATES, KUBECTL },
  });
}

export const deploymentOf = ({ name }: Release, service: string) => `${name}-keyweave-${service}`;

/** The pods of a release, or of one of its services; what 'helm test' has left is none of them. */
export async function pods({ namespace }: Release, service?: string): Promise<ApiObject[]> {
  const component = service === undefined ? '!=test' : `=${service}`;
  const selector = `app.kubernetes.io/name=keyweave,app.kubernetes.io/component${component}`;
  return listed('pods', namespace, selector);
}

/** Waits until every pod of a release is ready, as many as are wanted, and none is on its way out. */
export async function settled(release: Release, limitMs = 120_000): Promise<void> {
  await until(
    `the pods of ${release.name} have settled`,
    async () => {
      const all = await pods(release);
      const deployments = await listed('deployments', release.namespace);
      const wanted = deployments.reduce((sum, { spec }) => sum + (spec.replicas ?? 0), 0);
      return all.length === wanted && all.every(isReady);
    },
    limitMs,
  );
}

/** Runs a command in a pod of a service, as kubectl finds one. */
export function execIn(
  release: Release,
  service: string,
  command: readonly string[],
  input?: string,
): Promise<CommandResult> {
  const target = [
    'exec',
    '--namespace',
    release.namespace,
    '--stdin',
    `deployment/${deploymentOf(release, service)}`,
  ];
  return attempt(KUBECTL, [...target, '--', ...command], input === undefined ? {} : { input });
}
