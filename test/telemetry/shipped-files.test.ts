import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { loadConfig } from '#common/config/load.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { isSubnet } from '#common/net/own-address.ts';
import { HOME } from '#common/service/installation.ts';
import { DASHBOARD } from '../helpers/alert-rules.ts';
import { PROGRAMS } from './programs.ts';

const NODES = ['Alice', 'Bob', 'Charlie'] as const;
/** The containers that show what the services tell, and the one that passes it on. */
const SCREENS = ['grafana', 'jaeger', 'prometheus'] as const;
const OBSERVERS = ['collector', ...SCREENS] as const;

interface Container {
  readonly image?: string;
  readonly networks?: Readonly<Record<string, { ipv4_address?: string }>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly command?: string | readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly [other: string]: unknown;
}

interface Network {
  readonly internal?: boolean;
  readonly driver_opts?: Readonly<Record<string, string>>;
  readonly ipam: { readonly config: readonly { subnet: string }[] };
}

interface ComposeFile {
  readonly services: Readonly<Record<string, Container>>;
  readonly networks: Readonly<Record<string, Network>>;
}

const yaml = (path: string) => parse(readFileSync(join(HOME, path), 'utf8'), { merge: true });
const json = (path: string) => JSON.parse(readFileSync(join(HOME, path), 'utf8'));

const base = yaml('deploy/compose.yaml') as ComposeFile;
const laid = yaml('deploy/compose.telemetry.yaml') as ComposeFile;
const prometheus = yaml('deploy/telemetry/prometheus.yml');
const sources = yaml('deploy/telemetry/grafana/provisioning/datasources/keyweave.yaml').datasources as {
  uid: string;
  type: string;
  url: string;
  isDefault?: boolean;
}[];

const services = NODES.flatMap((node) => SERVICE_NAMES.map((name) => `${node.toLowerCase()}-${name}`));
const inNetwork = (network: string) =>
  Object.keys(laid.services).filter((name) => laid.services[name]?.networks?.[network] !== undefined);
const configOf = (node: string) => loadConfig(join(HOME, `deploy/containers/${node}/telemetry.json`));

describe('the configuration of containers with telemetry', () => {
  for (const node of NODES)
    it(`is that of ${node} without, and the two sections that telemetry needs`, () => {
      const { health, telemetry, ...rest } = json(`deploy/containers/${node}/telemetry.json`);
      const { health: usual, ...plain } = json(`deploy/containers/${node}/config.json`);
      assert.deepEqual(rest, plain);
      assert.ok(!('telemetry' in plain));
      const subnet = laid.networks.telemetry?.ipam.config[0]?.subnet;
      assert.deepEqual(health, { ...usual, host: subnet });
      assert.deepEqual(telemetry, json('deploy/containers/Alice/telemetry.json').telemetry);
      assert.ok(isSubnet(configOf(node).health?.host ?? ''));
    });

  it('is given to every service, in the place of the other', () => {
    for (const node of NODES)
      for (const name of SERVICE_NAMES) {
        const { volumes = [] } = laid.services[`${node.toLowerCase()}-${name}`] ?? {};
        assert.deepEqual(volumes, [`./containers/${node}/telemetry.json:/etc/keyweave/config.json:ro`]);
      }
  });

  it('names the collector as its certificate does, and where it listens', () => {
    const { endpoint, ca_path } = configOf('Alice').telemetry?.otlp ?? assert.fail();
    const { protocol, hostname, port } = new URL(endpoint);
    const receiver = yaml('deploy/telemetry/collector.yaml').receivers.otlp.protocols;
    assert.deepEqual(Object.keys(receiver), ['http']);
    assert.equal(`${receiver.http.endpoint}`, `\${env:COLLECTOR_ADDRESS}:${port}`);
    assert.equal(protocol, 'https:');
    assert.match(`${laid.services.certificates?.command}`, new RegExp(`--server ${hostname}$`));
    assert.deepEqual(laid.services.certificates?.volumes, [`collector:/certs/${hostname}`]);
    assert.ok(laid.services[hostname]);
    assert.equal(ca_path, configOf('Alice').certificate_config.cert_authority_path);
  });
});

describe("the networks of compose.telemetry.yaml's containers", () => {
  const subnetsOf = ({ networks }: ComposeFile) =>
    Object.values(networks).flatMap(({ ipam }) => ipam.config.map(({ subnet }) => subnet));

  it('are a closed one for all, and one without a way out for what people look at', () => {
    assert.deepEqual(Object.keys(laid.networks).toSorted(), ['screens', 'telemetry']);
    assert.equal(laid.networks.telemetry?.internal, true);
    assert.equal(
      laid.networks.screens?.driver_opts?.['com.docker.network.bridge.enable_ip_masquerade'],
      'false',
    );
    const all = [base, laid].flatMap(subnetsOf);
    assert.equal(new Set(all).size, all.length);
    assert.deepEqual(inNetwork('telemetry').toSorted(), [...services, ...OBSERVERS].toSorted());
    assert.deepEqual(inNetwork('screens').toSorted(), [...SCREENS]);
  });

  it('show pages at loopback alone', () => {
    for (const [name, { ports = [] }] of Object.entries(laid.services)) {
      const isScreen = SCREENS.some((screen) => screen === name);
      assert.equal(ports.length, isScreen ? 1 : 0, name);
      for (const port of ports) assert.match(port, /^127\.0\.0\.1:(\d+):\1$/);
    }
  });

  it('are where the collector and Jaeger take spans, each at its own address', () => {
    const addressOf = (name: string) => laid.services[name]?.networks?.telemetry?.ipv4_address;
    const { COLLECTOR_ADDRESS, JAEGER_ADDRESS } = laid.services.collector?.environment ?? {};
    assert.equal(COLLECTOR_ADDRESS, addressOf('collector'));
    assert.equal(JAEGER_ADDRESS, addressOf('jaeger'));
    assert.equal(laid.services.jaeger?.environment?.JAEGER_ADDRESS, addressOf('jaeger'));
    const { receivers, extensions } = yaml('deploy/telemetry/jaeger.yaml');
    const { exporters } = yaml('deploy/telemetry/collector.yaml');
    const { endpoint } = receivers.otlp.protocols.grpc;
    assert.equal(exporters['otlp_grpc/jaeger'].endpoint, endpoint);
    assert.ok(extensions.jaeger_query.http.endpoint.includes(':16686'));
  });

  it('are where the health checks of the services ask', () => {
    const prefix = laid.networks.telemetry?.ipam.config[0]?.subnet.replace(/0\/24$/, '');
    for (const name of services) {
      const script = laid.services[name]?.healthcheck?.test.at(-1) ?? '';
      assert.ok(script.includes(`startsWith("${prefix}")`), name);
      assert.ok(script.includes(`:${configOf('Alice').health?.port}/readyz`), name);
    }
  });
});

describe('the containers that compose.telemetry.yaml adds', () => {
  for (const name of OBSERVERS)
    it(`${name}: a version by name, no rights, nothing writable, limits, files that are there`, () => {
      const container = laid.services[name] ?? assert.fail();
      assert.ok(!(name in base.services));
      assert.match(container.image ?? '', /^[a-z]+\/[a-z-]+:v?\d+\.\d+\.\d+$/);
      const { read_only, cap_drop, security_opt, pids_limit, mem_limit } = container;
      assert.deepEqual([read_only, cap_drop, security_opt], [true, ['ALL'], ['no-new-privileges:true']]);
      assert.ok(pids_limit && mem_limit);
      const files = (container.volumes ?? []).filter((volume) => volume.startsWith('.'));
      assert.ok(files.length > 0);
      for (const file of files) {
        const [from = '', , mode] = file.split(':');
        assert.ok(existsSync(join(HOME, 'deploy', from)), from);
        assert.equal(mode, 'ro');
      }
    });

  it('are of the versions that make test-telemetry tries', () => {
    const tagOf = (name: string) => laid.services[name]?.image?.split(':')[1];
    assert.equal(tagOf('collector'), PROGRAMS.otelcol.tag);
    assert.equal(tagOf('jaeger'), PROGRAMS.jaeger.tag);
    assert.equal(tagOf('prometheus'), PROGRAMS.prometheus.tag);
  });

  it('grafana lets anybody look, and nobody in', () => {
    const { environment = {} } = laid.services.grafana ?? {};
    assert.equal(environment.GF_AUTH_ANONYMOUS_ORG_ROLE, 'Viewer');
    for (const name of [
      'GF_AUTH_ANONYMOUS_ENABLED',
      'GF_AUTH_DISABLE_LOGIN_FORM',
      'GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION',
    ])
      assert.equal(environment[name], 'true', name);
    assert.ok(!Object.keys(environment).some((name) => name.includes('PASSWORD')));
  });
});

describe('prometheus.yml', () => {
  const [job, ...others] = prometheus.scrape_configs;
  const targets = job.static_configs[0].targets as string[];

  it('asks every service at its health port, and loads the rules', () => {
    assert.equal(others.length, 0);
    assert.equal(job.job_name, 'keyweave');
    const port = configOf('Alice').health?.port;
    assert.deepEqual(targets.toSorted(), services.map((name) => `${name}:${port}`).toSorted());
    for (const name of services) assert.ok(name in base.services, name);
    assert.deepEqual(prometheus.rule_files, ['alerts.yml']);
    const { volumes = [] } = laid.services.prometheus ?? {};
    for (const file of ['prometheus.yml', 'alerts.yml'])
      assert.ok(volumes.includes(`./telemetry/${file}:/etc/prometheus/${file}:ro`), file);
  });

  it('calls the targets of a node by its name, and leaves a service the name that it gives itself', () => {
    const relabels = job.relabel_configs as { regex: string; target_label: string; replacement: string }[];
    const named = targets.map((target) =>
      relabels.map(({ regex, replacement }) => target.replace(new RegExp(`^(?:${regex})$`), replacement)),
    );
    assert.deepEqual(
      relabels.map(({ target_label }) => target_label),
      ['instance', 'service_name'],
    );
    assert.deepEqual(
      named.toSorted(),
      NODES.flatMap((node) => SERVICE_NAMES.map((name) => [node.toLowerCase(), name])).toSorted(),
    );
    assert.equal(job.honor_labels, true);
  });
});

describe("Grafana's provisioning", () => {
  it('has the sources at the pages of their containers, Prometheus first', () => {
    for (const { type, url } of sources) {
      const { hostname, port } = new URL(url);
      assert.equal(hostname, type);
      assert.deepEqual(laid.services[type]?.ports, [`127.0.0.1:${port}:${port}`]);
    }
    assert.deepEqual(
      sources.filter(({ isDefault }) => isDefault).map(({ uid }) => uid),
      ['prometheus'],
    );
  });

  it('has the sources that the dashboard asks for', () => {
    const { panels, templating } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as {
      panels: { datasource?: { uid: string; type: string } }[];
      templating: { list: { name: string; type: string; query: unknown }[] };
    };
    const [choice] = templating.list.filter(({ type }) => type === 'datasource');
    assert.ok(sources.some(({ type }) => type === choice?.query));
    const asked = panels.flatMap(({ datasource }) => datasource ?? []);
    assert.ok(asked.length > 20);
    for (const { uid, type } of asked) {
      assert.equal(uid, `\${${choice?.name}}`);
      assert.ok(sources.some((source) => source.type === type));
    }
  });

  it('has the dashboards where they are mounted, and shows one of them first', () => {
    const [provider] = yaml('deploy/telemetry/grafana/provisioning/dashboards/keyweave.yaml').providers;
    const { volumes = [], environment = {} } = laid.services.grafana ?? {};
    assert.ok(volumes.includes(`./telemetry/grafana/dashboards:${provider.options.path}:ro`));
    const home = environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH ?? '';
    const names = readdirSync(join(HOME, 'deploy/telemetry/grafana/dashboards'));
    assert.ok(names.some((name) => home === `${provider.options.path}/${name}`));
  });
});
