import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { type CommandOutcome, runCommand, startCommand } from '#test/helpers/command.ts';
import { type NodeFolder, nodeFolder } from '#test/helpers/node-folder.ts';

/** From the moment at which a start has failed; how long the start itself takes is the machine's. */
const LIMIT_MS = 5_000;

let node: NodeFolder;
let taken: Server;
let port: number;
/** What a whole sound start takes here. */
let soundMs: number;

before(async () => {
  node = await nodeFolder();
  taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  ({ port } = taken.address() as { port: number });
  // Twice: the first start of a machine also fills the cache of compiled modules.
  for (let i = 0; i < 2; i++) {
    const started = performance.now();
    const sound = startCommand(['node', ...node.write('sound')]);
    assert.match(await sound.firstLine, /"ready":true/);
    soundMs = performance.now() - started;
    sound.process.kill('SIGTERM');
    assert.equal((await sound.outcome).code, 0);
  }
});
after(() => {
  taken.close();
  node.remove();
});

const at = (host = '127.0.0.1', number = port) => ({ host, port: number });

function assertFailed(outcome: CommandOutcome, cause: RegExp): void {
  const { code, signal, stdout, stderr, ms } = outcome;
  assert.equal(signal, null, stderr);
  assert.ok(code !== null && code > 0, `status ${code}: ${stderr}`);
  assert.match(stderr, cause);
  assert.equal(stderr.trimEnd().split('\n').length, 1, stderr);
  assert.equal(stdout, '');
  assert.ok(ms < soundMs + LIMIT_MS, `${ms} ms, where a sound start takes ${soundMs} ms`);
}

describe('a service that cannot have a port', () => {
  const starts: [string, string, () => object][] = [
    ['gateway', 'JSON', () => ({ hybridization_server_address: at() })],
    ['peer-broker', 'peer', () => ({ peer_local_address: at() })],
    ...SERVICE_NAMES.map((name): [string, string, () => object] => [
      name,
      'gRPC',
      () => ({ services: { [name]: { address: at() } } }),
    ]),
  ];
  for (const [service, listener, change] of starts) {
    it(`${service}: ends with the cause where its ${listener} port is taken, probes or not`, async () => {
      const own = { services: { [service]: { address: at('127.0.0.1', node.ports.grpc) } } };
      for (const health of [undefined, { port: node.ports.health }]) {
        const files = node.write(`${service}-${listener}`, {
          config: { ...node.config, ...own, health, ...change() },
        });
        assertFailed(await runCommand(['service', service, ...files]), /:\d+: .*in use.*EADDRINUSE/);
      }
    });
  }

  it('ends with the cause where the port of its probes is taken', async () => {
    for (const service of SERVICE_NAMES) {
      const files = node.write('health', { config: { ...node.config, health: { port } } });
      assertFailed(await runCommand(['service', service, ...files]), /health port .*in use.*EADDRINUSE/);
    }
  });

  it('ends with the cause where the address is not of this machine', async () => {
    const elsewhere = at('192.0.2.1');
    for (const [service, change] of [
      ['gateway', { hybridization_server_address: elsewhere }],
      ['peer-broker', { peer_local_address: elsewhere }],
    ] as const) {
      const files = node.write('elsewhere', {
        config: { ...node.config, health: { port: node.ports.health }, ...change },
      });
      assertFailed(await runCommand(['service', service, ...files]), /192\.0\.2\.1:.*EADDRNOTAVAIL/);
    }
  });
});

describe('a node of which a part cannot start', () => {
  for (const [what, change] of [
    ['the JSON port is', () => ({ hybridization_server_address: at() })],
    ['the peer port is', () => ({ peer_local_address: at() })],
    ["a service's port is", () => ({ services: { hybridizer: { address: at() } } })],
    ["the probes' port is", () => ({ health: { port } })],
  ] as const) {
    it(`ends as a whole with the one cause, where ${what} taken`, async () => {
      const files = node.write('node', {
        config: { ...node.config, health: { port: node.ports.health }, ...change() },
      });
      assertFailed(await runCommand(['node', ...files]), /in use.*EADDRINUSE/);
    });
  }
});

describe('other commands that cannot have a port', () => {
  it('kme-simulator ends with the cause', async () => {
    const listen = ['--listen', '127.0.0.1:0', '127.0.0.1:0'];
    for (const args of [
      [...listen, `127.0.0.1:${port}`],
      [...listen, '--control', `127.0.0.1:${port}`],
    ]) {
      const { stderr, ...outcome } = await runCommand(['kme-simulator', ...args]);
      const [warning = '', ...rest] = stderr.split('\n');
      assert.match(warning, /NOT SECRET/);
      assertFailed({ ...outcome, stderr: rest.join('\n') }, /in use.*EADDRINUSE/);
    }
  });
});
