import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import {
  addressIn,
  allReady,
  compose,
  containerOf,
  inspect,
  make,
  NODE_NAMES,
  NODES,
  networkName,
  SERVICES,
} from '../containers/container-network.ts';
import { addressesIn, assertUnreachable, openPorts } from '../containers/reach.ts';
import { alertNames } from '../helpers/alert-rules.ts';
import { eventually } from '../helpers/network.ts';
import { askJaeger, askPrometheus, placesOf, type Rules } from './observers.ts';

const PROMETHEUS = 'http://127.0.0.1:9090';
const JAEGER = 'http://127.0.0.1:16686';
/** Grafana's image is not to be had everywhere. */
const OBSERVERS = ['collector', 'jaeger', 'prometheus'] as const;
const SETTLE_MS = 120_000;

before(() => allReady());

describe('three nodes and their observers in containers', () => {
  it('are well, and none had to be started twice', async () => {
    for (const service of [...SERVICES, 'kme-simulator', ...OBSERVERS]) {
      const { State, RestartCount } = await inspect(await containerOf(service));
      assert.deepEqual([service, State.Running, RestartCount], [service, true, 0]);
      assert.ok((State.Health?.Status ?? 'healthy') === 'healthy', service);
    }
  });

  it('find peers where these bind, although their names are known in the network of telemetry, too', async () => {
    for (const far of NODE_NAMES.filter((node) => node !== 'alice')) {
      const script = `require('node:dns').lookup('${far}-peer-broker', { all: true }, (error, found) => console.log(found.map(({ address }) => address).join()))`;
      const { stdout } = await compose('exec', '-T', 'alice-peer-broker', 'node', '-e', script);
      const bound = addressIn(await inspect(await containerOf(`${far}-peer-broker`)), 'peers');
      assert.equal(stdout.trim(), bound);
    }
  });

  for (const name of OBSERVERS)
    it(`${name} runs as nobody in particular, without rights, and writes to its volume alone`, async () => {
      const { HostConfig, Config, Mounts } = await inspect(await containerOf(name));
      assert.deepEqual([HostConfig.ReadonlyRootfs, HostConfig.CapDrop], [true, ['ALL']]);
      assert.ok(Config.User !== '' && !/^(0|root)\b/.test(Config.User), Config.User);
      const written = Mounts.filter(({ RW }) => RW).map(({ Destination }) => Destination);
      assert.deepEqual(written, { collector: [], jaeger: ['/tmp'], prometheus: ['/prometheus'] }[name]);
    });
});

describe('Prometheus', () => {
  it('has every service up, by the names of its node and its own', async () => {
    const asked = SERVICES.map((service) => service.replace('-', ' ')).toSorted();
    await eventually('all targets are up', SETTLE_MS, async () => {
      const { activeTargets } = await askPrometheus<{
        activeTargets: { health: string; labels: Record<string, string> }[];
      }>(PROMETHEUS, 'targets');
      const up = activeTargets.filter(({ health }) => health === 'up');
      const names = up.map(({ labels }) => `${labels.instance} ${labels.service_name}`).toSorted();
      return JSON.stringify(names) === JSON.stringify(asked) || undefined;
    });
  });

  it('has loaded the rules, all of which have an answer', async () => {
    await eventually('every rule has been asked', SETTLE_MS, async () => {
      const rules = (await askPrometheus<Rules>(PROMETHEUS, 'rules')).groups.flatMap(({ rules }) => rules);
      const alerts = rules.filter(({ type }) => type === 'alerting').map(({ name }) => name);
      assert.deepEqual(alerts, alertNames());
      return rules.every(({ health }) => health === 'ok') || undefined;
    });
  });

  it('fires no alert', async () => {
    const { alerts } = await askPrometheus<{
      alerts: { state: string; labels: Record<string, string> }[];
    }>(PROMETHEUS, 'alerts');
    const firing = alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname);
    // Whether this machine is fast enough is no question here.
    assert.deepEqual(
      firing.filter((name) => name !== 'KeyweaveEventLoopLate'),
      [],
    );
  });
});

describe('Jaeger', () => {
  it('has the GET_KEY of make driver as one trace of both nodes', async () => {
    const { code, stdout, stderr } = await make('driver', 'A=Alice', 'B=Bob');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /equal keys at Alice and Bob/);
    const ends = [NODES.alice.uuid, NODES.bob.uuid];
    await eventually('a trace of both nodes', SETTLE_MS, async () => {
      const traces = await askJaeger(JAEGER, { service: 'gateway', operation: 'GET_KEY' });
      return traces.find((trace) => ends.every((uuid) => placesOf(trace).includes(`gateway of ${uuid}`)));
    });
  });
});

describe('what can be reached', () => {
  /** What applications and peers call, what services call of each other, and the key managers. */
  const OURS = [
    ...[65_430, 25_575, 50_051, 8_443, 8_444, 3_001],
    ...[50_052, 50_053, 50_054, 50_055, 54_001, 54_002, 54_003, 9_229],
  ];
  const HEALTH = 9_465;
  /** OTLP, its other way, pages, and what the collector and Jaeger tell of themselves by default. */
  const OBSERVED = [4_317, 4_318, 16_686, 16_685, 9_090, 3_000, 8_888, 13_133, 14_250, 5_778];
  const PORTS = [...OURS, HEALTH, ...OBSERVED];

  it('in the network of telemetry: health ports, what takes spans, pages, and nothing else', async () => {
    const addressOf = async (service: string) =>
      addressIn(await inspect(await containerOf(service)), 'telemetry');
    const expected: Record<string, number[]> = {};
    for (const service of SERVICES) expected[await addressOf(service)] = [HEALTH];
    expected[await addressOf('collector')] = [4_318];
    expected[await addressOf('jaeger')] = [4_317, 16_686];
    expected[await addressOf('prometheus')] = [9_090];
    assert.deepEqual((await addressesIn('telemetry')).toSorted(), Object.keys(expected).toSorted());
    assert.deepEqual(await openPorts('telemetry', Object.keys(expected), PORTS), expected);
  });

  for (const network of ['telemetry', 'screens'])
    it(`from ${network}: no peer, no application's port, no inner one`, async () => {
      await assertUnreachable(network, ['apps', 'peers', ...NODE_NAMES], [...OURS, HEALTH]);
    });

  it('from where people look: no service', async () => {
    for (const service of SERVICES) {
      const { Networks } = (await inspect(await containerOf(service))).NetworkSettings;
      assert.ok(!(networkName('screens') in Networks), service);
    }
    await assertUnreachable('screens', ['telemetry'], PORTS);
  });

  for (const network of ['apps', 'peers', ...NODE_NAMES])
    it(`from ${network}: nothing of the telemetry, and no health port`, async () => {
      await assertUnreachable(network, ['telemetry', 'screens'], PORTS);
      const open = await openPorts(network, await addressesIn(network), [HEALTH, ...OBSERVED]);
      assert.deepEqual(Object.values(open).flat(), []);
    });
});
