import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { ownCallers } from '#common/grpc/callers.ts';
import { parseSpiffeId } from '#common/tls/spiffe.ts';
import { mayReach, type Party } from './policy-edges.ts';
import { helm, type KubernetesObject, NODE, PEER, render, type Values } from './rendered.ts';

const values: Values = {
  node: { uuid: NODE },
  peers: { [PEER]: { address: { host: 'bob-keyweave-peers.bob.svc', port: 3001 } } },
  kmeSimulator: { enabled: true },
  serviceMonitor: { enabled: true },
  test: { peer: { uuid: PEER, host: 'bob-keyweave.bob.svc', port: 65430 } },
};

const of = (instance: string, component: string): Party => ({
  namespace: instance,
  labels: {
    'app.kubernetes.io/name': 'keyweave',
    'app.kubernetes.io/instance': instance,
    'app.kubernetes.io/component': component,
  },
});

/** The pods of one node, its neighbours, and others who have no business here. */
const PARTIES: Readonly<Record<string, Party>> = {
  gateway: of('alice', 'gateway'),
  'qkd-source': of('alice', 'qkd-source'),
  'pqc-source': of('alice', 'pqc-source'),
  'peer-broker': of('alice', 'peer-broker'),
  hybridizer: of('alice', 'hybridizer'),
  'kme-simulator': of('alice', 'kme-simulator'),
  test: of('alice', 'test'),
  "the peer's gateway": of('bob', 'gateway'),
  "the peer's qkd-source": of('bob', 'qkd-source'),
  "the peer's peer-broker": of('bob', 'peer-broker'),
  "the peer's hybridizer": of('bob', 'hybridizer'),
  'an application': { namespace: 'alice', labels: { 'keyweave.example/application': 'true' } },
  'an application elsewhere': { namespace: 'shop', labels: { 'keyweave.example/application': 'true' } },
  'a neighbour': { namespace: 'alice', labels: { app: 'web' } },
  'a stranger': { namespace: 'shop', labels: { app: 'web' } },
  dns: { namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
  'the API server': { address: '10.96.0.1' },
  monitoring: { namespace: 'monitoring', labels: { app: 'prometheus' } },
  'the internet': { address: '203.0.113.9' },
};

const PORTS = [53, 443, 3001, 9465, 50051, 50052, 50053, 50054, 50055, 54000, 54001, 65430];

/** From, to, TCP port: all that there is. */
const EDGES = [
  ['an application', 'gateway', 65430],
  ['test', 'gateway', 65430],
  ['test', "the peer's gateway", 65430],
  ['gateway', 'qkd-source', 50052],
  ['gateway', 'pqc-source', 50053],
  ['gateway', 'hybridizer', 50054],
  ['gateway', 'peer-broker', 50055],
  ['peer-broker', 'gateway', 50051],
  ['peer-broker', "the peer's peer-broker", 3001],
  ["the peer's peer-broker", 'peer-broker', 3001],
  ['qkd-source', 'kme-simulator', 54000],
  ["the peer's qkd-source", 'kme-simulator', 54000],
  ["the peer's qkd-source", 'kme-simulator', 54001],
  ['gateway', 'dns', 53],
  ['qkd-source', 'dns', 53],
  ['peer-broker', 'dns', 53],
  ['test', 'dns', 53],
  ...SERVICE_NAMES.map((service) => ['monitoring', service, 9465] as const),
] as const satisfies readonly (readonly [string, string, number])[];

const told = ([from, to, port]: readonly [string, string, number]) => `${from} -> ${to}:${port}`;

/** A party of the release, whom its policies choose. */
const isOurs = (name: string) => PARTIES[name]?.labels?.['app.kubernetes.io/instance'] === 'alice';

let policies: KubernetesObject[];

/** Every way over which something comes into the node or leaves it. */
function waysIn(of: readonly KubernetesObject[]): string[] {
  return Object.entries(PARTIES).flatMap(([from, a]) =>
    Object.entries(PARTIES).flatMap(([to, b]) =>
      from === to || (!isOurs(from) && !isOurs(to))
        ? []
        : PORTS.filter((port) => mayReach(of, [a, b], { port })).map((port) => told([from, to, port])),
    ),
  );
}

describe("the chart's network policies", { skip: helm.missing }, () => {
  before(async () => {
    policies = (await render(values)).filter(({ kind }) => kind === 'NetworkPolicy');
  });

  for (const edge of EDGES) {
    it(`allow ${told(edge)}`, () => {
      const [from, to, port] = edge;
      assert.ok(mayReach(policies, [PARTIES[from] as Party, PARTIES[to] as Party], { port }));
    });
  }

  it('allow nothing else', () => {
    const all = new Set<string>(EDGES.map(told));
    assert.deepEqual(
      waysIn(policies).filter((way) => !all.has(way)),
      [],
    );
  });

  it('allow DNS over UDP to those who look names up, and to nobody else', () => {
    const asking = Object.keys(PARTIES).filter(
      (name) =>
        isOurs(name) &&
        mayReach(policies, [PARTIES[name] as Party, PARTIES.dns as Party], { port: 53, protocol: 'UDP' }),
    );
    assert.deepEqual(asking, ['gateway', 'qkd-source', 'peer-broker', 'test']);
  });

  it('say of services what the lists of callers say of certificates', () => {
    const config = { uuid: NODE, certificate_config: { network: 'keyweave' }, services: {} } as never;
    for (const service of SERVICE_NAMES) {
      const listed = [...ownCallers(config, service)].map((id) => parseSpiffeId(id)?.service);
      const port = EDGES.find(([, to, at]) => to === service && at > 50_050 && at < 50_060)?.[2];
      const reaching = SERVICE_NAMES.filter((from) =>
        mayReach(policies, [PARTIES[from] as Party, PARTIES[service] as Party], { port: port ?? 0 }),
      );
      assert.deepEqual(reaching, listed, service);
    }
  });

  it('are seen through: one without a list of peers lets others in', () => {
    const open = structuredClone(policies);
    const gateway = open.find(({ metadata }) => metadata.name === 'alice-keyweave-gateway');
    for (const rule of gateway?.spec.ingress ?? []) delete rule.from;
    assert.ok(waysIn(open).includes(told(['a stranger', 'gateway', 65430])));
    const withoutDeny = policies.filter(({ metadata }) => !metadata.name.includes('hybridizer'));
    assert.ok(!waysIn(withoutDeny).some((way) => way.includes('-> hybridizer')));
    const none = withoutDeny.filter(({ metadata }) => !metadata.name.includes('deny'));
    assert.ok(waysIn(none).includes(told(['a stranger', 'hybridizer', 50054])));
  });

  it('reach a key manager by its address alone', async () => {
    const byAddress = { node: { uuid: NODE }, keyManager: { host: '10.1.2.3', port: 54000 } };
    const rendered = (await render(byAddress)).filter(({ kind }) => kind === 'NetworkPolicy');
    const reaches = (address: string, port = 54_000) =>
      mayReach(rendered, [PARTIES['qkd-source'] as Party, { address }], { port });
    assert.deepEqual(
      [reaches('10.1.2.3'), reaches('10.1.2.4'), reaches('10.1.2.3', 443)],
      [true, false, false],
    );
  });

  it('let every service out to the collector, at the port of its URL, where it is named', async () => {
    const collector = { namespace: 'monitoring', labels: { app: 'collector' } };
    const endpoints = [
      ['https://collector.monitoring.svc:4318', 4318],
      ['https://collector.example', 443],
    ] as const;
    for (const [endpoint, port] of endpoints) {
      const rendered = (
        await render({
          ...values,
          config: { telemetry: { otlp: { endpoint } } },
          networkPolicy: {
            collector: [{ namespaceSelector: {}, podSelector: { matchLabels: collector.labels } }],
          },
        })
      ).filter(({ kind }) => kind === 'NetworkPolicy');
      for (const service of SERVICE_NAMES) {
        const reached = [...PORTS, 4318].filter((each) =>
          mayReach(rendered, [PARTIES[service] as Party, collector], { port: each }),
        );
        assert.deepEqual(reached, [port], service);
        assert.ok(
          mayReach(rendered, [PARTIES[service] as Party, PARTIES.dns as Party], { port: 53 }),
          service,
        );
      }
    }
    const nowhere = { ...values, networkPolicy: { collector: [{ namespaceSelector: {} }] } };
    await assert.rejects(render(nowhere), /of no use without config\.telemetry\.otlp\.endpoint/);
  });

  it('let nobody in where a list is empty', async () => {
    const closed = { ...values, networkPolicy: { applications: [], peers: [], monitoring: [] } };
    const rendered = (await render(closed)).filter(({ kind }) => kind === 'NetworkPolicy');
    const open = waysIn(rendered).filter((way) =>
      /application ->|monitoring ->|broker -> |-> peer-broker:3001/.test(way),
    );
    assert.deepEqual(open, [told(['peer-broker', 'gateway', 50051]), told(['peer-broker', 'dns', 53])]);
  });

  it('are left out only where that is said', async () => {
    const rendered = await render({ ...values, networkPolicy: { enabled: false } });
    assert.ok(rendered.every(({ kind }) => kind !== 'NetworkPolicy'));
  });
});
