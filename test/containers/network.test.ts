import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { attempt } from './command.ts';
import {
  addressIn,
  allReady,
  compose,
  containerOf,
  docker,
  HOME,
  inspect,
  make,
  NODE_NAMES,
  NODES,
  networkName,
  SERVICES,
} from './container-network.ts';
import { addressesIn, assertUnreachable, inContainerOf, openPorts } from './reach.ts';

const MAX_MEMORY_BYTES = 1_600_000_000;
const SETTLE_MS = 5_000;

before(() => allReady());

describe('three nodes in containers', () => {
  it('are 15 services, all well', () => assert.equal(SERVICES.length, 15));

  it('use at most 1.6 GB together, idle', async (test) => {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const used = await Promise.all(SERVICES.map(memoryOf));
    const total = used.reduce((sum, bytes) => sum + bytes, 0);
    test.diagnostic(`${(total / 1e6).toFixed(0)} MB, the largest ${(Math.max(...used) / 1e6).toFixed(0)} MB`);
    assert.ok(
      used.every((bytes) => bytes > 10_000_000),
      'memory was not read',
    );
    assert.ok(total <= MAX_MEMORY_BYTES, `${total} bytes`);
  });

  for (const service of SERVICES) {
    it(`${service} has no rights, nothing writable, limits, and its own key only`, async () => {
      const { HostConfig, Mounts, Config } = await inspect(await containerOf(service));
      assert.equal(HostConfig.ReadonlyRootfs, true);
      assert.deepEqual([HostConfig.CapDrop, HostConfig.CapAdd ?? []], [['ALL'], []]);
      assert.deepEqual(HostConfig.SecurityOpt, ['no-new-privileges:true']);
      assert.deepEqual(
        HostConfig.Ulimits.map(({ Name, Hard }) => [Name, Hard]),
        [['core', 0]],
      );
      assert.ok(HostConfig.Memory > 0 && HostConfig.PidsLimit > 0);
      assert.notEqual(Config.User.split(':')[0], '0');
      assert.deepEqual(Mounts.map(({ Destination, RW }) => [Destination, RW]).sort(), [
        ['/etc/keyweave', false],
        ['/run/keyweave', false],
      ]);
      const list = "console.log(require('node:fs').readdirSync('/run/keyweave').join())";
      const { stdout } = await compose('exec', '-T', service, 'node', '-e', list);
      const base = service.endsWith('-peer-broker') ? 'node' : service.slice(service.indexOf('-') + 1);
      assert.deepEqual(stdout.trim().split(','), ['ca.crt', `${base}.crt`, `${base}.key`].sort());
      const worker = Config.Env.some(
        (line) => line.startsWith('NODE_OPTIONS=') && line.includes('--allow-worker'),
      );
      assert.equal(worker, service.endsWith('-pqc-source'));
    });
  }

  it("keep the CA's key where no service sees it", async () => {
    const mounts = await Promise.all(
      SERVICES.map(async (service) => (await inspect(await containerOf(service))).Mounts),
    );
    assert.ok(mounts.flat().every(({ Name }) => Name !== networkName('ca')));
    const issuer = await inspect(await containerOf('certificates'));
    assert.deepEqual([issuer.State.Running, issuer.State.ExitCode], [false, 0]);
    assert.ok(issuer.Mounts.some(({ Name }) => Name === networkName('ca')));
  });
});

describe('drivers in the containers of two nodes', () => {
  for (const [a, b] of [
    ['Alice', 'Bob'],
    ['Alice', 'Charlie'],
    ['Bob', 'Charlie'],
    ['Bob', 'Alice'],
  ] as const) {
    it(`${a} and ${b}: make driver gives equal keys`, async () => {
      const { code, stdout, stderr } = await make('driver', `A=${a}`, `B=${b}`);
      assert.equal(code, 0, stderr);
      const keys = [...stdout.matchAll(/^(\w+): GET_KEY: status 0, index 0, SHA-256 ([0-9a-f]+)/gm)];
      assert.deepEqual(
        keys.map((match) => match[1]),
        [a, b],
      );
      assert.equal(keys[0]?.[2], keys[1]?.[2]);
      assert.match(stdout, new RegExp(`equal keys at ${a} and ${b}`));
    });
  }

  it('every shipped request for two nodes, ten streams at once: the same keys at both', async () => {
    const names = readdirSync(join(HOME, 'deploy', 'requests')).filter((name) => name.endsWith('.json'));
    assert.ok(names.length >= 4, `${names}`);
    for (const name of names) {
      const text = readFileSync(join(HOME, 'deploy', 'requests', name), 'utf8');
      const ends = NODE_NAMES.filter((node) => text.includes(NODES[node].uuid));
      const [one = [], other = []] = await Promise.all(ends.map((node) => bulkDriver(node, name)));
      assert.equal(one.length, 10, name);
      assert.deepEqual(one, other, name);
    }
  });

  it('are told in words when they name nobody or the same node twice', async () => {
    for (const [args, words] of [
      [['A=Alice', 'B=Alice'], 'two different nodes'],
      [['A=Alice', 'B=Dora'], 'there are Alice, Bob and Charlie'],
      [[], 'which nodes?'],
    ] as const) {
      const { code, stderr } = await make('driver', ...args);
      assert.notEqual(code, 0);
      assert.match(stderr, new RegExp(words));
    }
  });
});

describe('make without an engine', () => {
  it('says what is missing and how to get it', async () => {
    for (const target of ['images', 'up', 'down', 'logs', 'driver']) {
      const nowhere = { env: { DOCKER_HOST: 'unix:///nowhere/docker.sock' }, cwd: HOME };
      const { code, stderr } = await attempt('make', [target, 'A=Alice', 'B=Bob'], nowhere);
      assert.notEqual(code, 0);
      assert.match(stderr, /no container engine answers .*start it/, target);
    }
  });
});

describe('what can be reached', () => {
  /** JSON, binary, gRPC. */
  const GATEWAY = [65_430, 25_575, 50_051];
  const PEER = [3_001];
  const OURS = [65_430, 3_001, 50_051, 50_052, 50_053, 50_054, 50_055];
  const ports = [
    ...[65_430, 25_575, 3_001, 50_051, 50_052, 50_053, 50_054, 50_055, 9_465, 9_464, 54_001, 54_002, 54_003],
    9_229,
  ];

  it("from an application's container: the gateways' ports for applications, and nothing else", async () => {
    const addresses = await addressesIn('apps');
    assert.equal(addresses.length, 3, 'only gateways are in the network of applications');
    assert.deepEqual(
      await openPorts('apps', addresses, ports),
      Object.fromEntries(addresses.map((one) => [one, GATEWAY])),
    );
    await assertUnreachable('apps', ['peers', ...NODE_NAMES], OURS);
  });

  it("from the peers' network: the peer-brokers' ports, and nothing else", async () => {
    const addresses = await addressesIn('peers');
    assert.equal(addresses.length, 3, 'only peer-brokers are in the network of peers');
    assert.deepEqual(
      await openPorts('peers', addresses, ports),
      Object.fromEntries(addresses.map((one) => [one, PEER])),
    );
    await assertUnreachable('peers', ['apps', ...NODE_NAMES], OURS);
  });

  it('inside a node: each service on its own port, the probes nowhere', async () => {
    const own = {
      gateway: 50_051,
      'qkd-source': 50_052,
      'pqc-source': 50_053,
      hybridizer: 50_054,
      'peer-broker': 50_055,
    };
    const expected: Record<string, number[]> = {};
    for (const service of SERVICE_NAMES) {
      expected[addressIn(await inspect(await containerOf(`alice-${service}`)), 'alice')] = [own[service]];
    }
    assert.deepEqual(await openPorts('alice', Object.keys(expected), ports), expected);
    await assertUnreachable('alice', ['bob', 'charlie', 'peers', 'apps'], OURS);
  });

  it('answers nobody without a certificate', async () => {
    const address = addressIn(await inspect(await containerOf('bob-peer-broker')), 'peers');
    const script = `
      const socket = require('node:tls').connect({ host: '${address}', port: 3001, ALPNProtocols: ['h2'], rejectUnauthorized: false });
      socket.on('error', (error) => console.log(error.code));
      socket.on('close', () => console.log('closed'));
      socket.on('secureConnect', () => socket.write('PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'));`;
    const said = await inContainerOf('peers', script);
    assert.match(said, /CERTIFICATE_REQUIRED/);
  });

  it('the probes of each container say yes', async () => {
    const script = `
      const { get } = require('node:http');
      for (const path of ['/livez', '/startupz', '/readyz', '/metrics'])
        get('http://127.0.0.1:9465' + path, (answer) => console.log(path, answer.statusCode));`;
    for (const service of SERVICES) {
      const { stdout } = await compose('exec', '-T', service, 'node', '-e', script);
      assert.deepEqual(stdout.trim().split('\n').sort(), [
        '/livez 200',
        '/metrics 404',
        '/readyz 200',
        '/startupz 200',
      ]);
    }
  });
});

/** The keys' digests that ten drivers at once were given, sorted. */
async function bulkDriver(node: string, request: string): Promise<string[]> {
  const { code, stdout, stderr } = await compose(
    'exec',
    '-T',
    `${node}-gateway`,
    'keyweave',
    'bulk-driver',
    '10',
    request,
  );
  assert.equal(code, 0, `${request} at ${node}: ${stdout}${stderr}`);
  return [...stdout.matchAll(/^\d+ +([0-9a-f-]{36}) +([0-9a-f]{16}) +ok/gm)]
    .map(([, ksid, key]) => `${ksid} ${key}`)
    .sort();
}

async function memoryOf(service: string): Promise<number> {
  const stats = await docker('stats', '--no-stream', '--format', '{{.MemUsage}}', await containerOf(service));
  const [, amount, unit] = /^([\d.]+)([KMG])iB/.exec(stats) ?? [];
  return Number(amount) * { K: 1024, M: 1024 ** 2, G: 1024 ** 3 }[unit as 'K' | 'M' | 'G'];
}
