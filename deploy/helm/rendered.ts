import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments } from 'yaml';
import { findTool, NoToolError } from '#test/kubernetes/tools.ts';
import { attempt, type CommandResult } from '../../test/containers/command.ts';

export const CHART = fileURLToPath(new URL('./keyweave/', import.meta.url));

/** An object of Kubernetes, as far as tests look. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: whatever its kind has; type-checked against the kinds in objects.test.ts.
  readonly spec?: any;
  readonly stringData?: Readonly<Record<string, string>>;
}

export type Values = { readonly [name: string]: unknown };

/** helm, or why there is none: then tests that need it are left out, and say so. */
export const helm = await findTool('helm').then(
  (path) => ({ path, missing: false as const }),
  (error: unknown) => {
    if (!(error instanceof NoToolError)) throw error;
    return { path: undefined, missing: error.message };
  },
);

export function runHelm(args: readonly string[], values: Values): Promise<CommandResult> {
  return attempt(helm.path as string, [...args, '--values', '-'], { input: JSON.stringify(values) });
}

/** What the chart makes of these values. @throws Error with helm's words. */
export async function render(
  values: Values,
  release = 'alice',
  namespace = 'alice',
): Promise<KubernetesObject[]> {
  const { code, stdout, stderr } = await runHelm(
    ['template', release, CHART, '--namespace', namespace],
    values,
  );
  if (code !== 0) throw new Error(stderr);
  const documents = parseAllDocuments(stdout);
  if (!Array.isArray(documents)) return [];
  for (const { errors } of documents) if (errors[0]) throw errors[0];
  return documents.map((document) => document.toJS()).filter(Boolean) as KubernetesObject[];
}

export const NODE = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
export const PEER = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';

const peers = { [PEER]: { address: { host: 'bob-keyweave-peers.bob.svc', port: 3001 } } };

const example = (name: string) =>
  parse(readFileSync(new URL(`./examples/${name}.yaml`, import.meta.url), 'utf8')) as Values;

/** Values that must do, from the least to nearly all. */
export const VALUE_SETS: Readonly<Record<string, Values>> = {
  'examples/alice.yaml': example('alice'),
  'examples/bob.yaml': example('bob'),
  'the simulator': { node: { uuid: NODE }, peers, kmeSimulator: { enabled: true } },
  'a key manager by address': { node: { uuid: NODE }, peers, keyManager: { host: '10.1.2.3' } },
  'cert-manager, autoscaling, monitoring': {
    node: { uuid: NODE, network: 'qkd.example' },
    peers,
    keyManager: { host: 'kme.example', port: 54321, tls: { secret: 'kme-client', serverName: 'kme' } },
    config: {
      listeners: { json: { tls: 'mutual' } },
      limits: { shutdown_grace: '1500ms', max_streams: 500 },
      qkd: { pipeline: 'off' },
    },
    certificates: {
      source: 'cert-manager',
      certManager: { issuerRef: { name: 'site', kind: 'ClusterIssuer' }, gatewayNames: ['keys.example'] },
      ca: { configMap: 'network-cas' },
      crl: { configMap: 'network-crl' },
    },
    services: Object.fromEntries(
      ['qkd-source', 'pqc-source', 'peer-broker', 'hybridizer'].map((name) => [
        name,
        { autoscaling: { enabled: true } },
      ]),
    ),
    networkPolicy: { keyManager: [{ ipBlock: { cidr: '192.0.2.0/24' } }] },
    serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
    test: {
      peer: { uuid: PEER, host: 'bob-keyweave.bob.svc', port: 65430 },
      tlsSecret: 'test-client',
    },
  },
  'to the outside, everything named': {
    node: { uuid: NODE },
    existingPeersSecret: 'peers',
    keyManager: { host: 'fd00::7' },
    image: {
      repository: 'registry.example/keyweave',
      digest: `sha256:${'0'.repeat(64)}`,
      pullSecrets: ['registry'],
    },
    applications: { service: { type: 'LoadBalancer', loadBalancerSourceRanges: ['192.0.2.0/24'] } },
    peering: { service: { type: 'LoadBalancer', port: 3443, annotations: { a: 'b' } } },
    networkPolicy: { peers: [{ ipBlock: { cidr: '198.51.100.0/24' } }], peerPorts: [3443] },
    pods: {
      labels: { team: 'keys' },
      annotations: { note: 'x' },
      nodeSelector: { zone: 'safe' },
      tolerations: [{ key: 'keys', operator: 'Exists', effect: 'NoSchedule' }],
      affinity: {
        podAntiAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 1, podAffinityTerm: { topologyKey: 'rack', labelSelector: {} } },
          ],
        },
      },
      priorityClassName: 'high',
      topologyPolicy: 'DoNotSchedule',
      bindAddress: '::',
    },
    certificates: { secrets: { gateway: 'own-gateway-certificate' } },
    fullnameOverride: 'node-a',
  },
};
