import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HealthCheckResponse_ServingStatus, HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { freePorts } from '../../services/cli/free-ports.ts';
import { dial, impersonate } from '../helpers/lying-peer.ts';
import { eventually, type LocalNode, networkFor, startLocalNetwork } from '../helpers/network.ts';

const MAIN = fileURLToPath(new URL('../../services/cli/main.ts', import.meta.url));
const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;

const probeOf = (port: number) => async (path: string) => {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`);
  return `${answer.status} ${(await answer.text()).trim()}`;
};

describe('the health port of a whole node', () => {
  it('is ready when all five services are, says in words what is missing, and is alive all along', async (t) => {
    const [port = 0] = await freePorts('127.0.0.1', 1);
    const network = await networkFor(t, { names: ['Alice'], config: () => ({ health: { port } }) });
    const probe = probeOf(port);
    const ready = (expected: RegExp) =>
      eventually(`/readyz says ${expected}`, 8_000, async () =>
        expected.test(await probe('/readyz')) ? true : undefined,
      );
    for (const path of ['/livez', '/startupz', '/readyz']) assert.equal(await probe(path), '200 ok', path);
    const alice = network.nodes[0] as LocalNode;
    const pid = alice.services.hybridizer?.pid as number;

    process.kill(pid, 'SIGSTOP');
    await ready(/^503 gateway: hybridizer: does not answer\nhybridizer: does not answer$/);
    assert.equal(await probe('/livez'), '200 ok');
    process.kill(pid, 'SIGCONT');
    await ready(/^200 ok$/);

    process.kill(pid, 'SIGKILL');
    await ready(/^503 (gateway: hybridizer: .*\n)?hybridizer: being started again$/);
    assert.equal(await probe('/livez'), '200 ok');
    await ready(/^200 ok$/);
    await network.stop();
    await assert.rejects(probe('/livez'));
  });
});

describe('the standard health service', () => {
  it('says of every service that it serves, and of a gateway that lacks one that it does not', async (t) => {
    const network = await networkFor(t, { names: ['Alice'] });
    const alice = network.nodes[0] as LocalNode;
    const tool = await impersonate(network, alice.uuid, { service: 'tool' });
    const connections = Object.entries(alice.services).map(([service, { address }]) =>
      dial(tool, alice, { service: service as 'gateway', address }),
    );
    t.after(() => {
      for (const connection of connections) connection.close();
      tool.close();
    });
    for (const connection of connections)
      assert.deepEqual(await connection.client(HealthDefinition).check({}), { status: SERVING });
    const gateway = connections[Object.keys(alice.services).indexOf('gateway')]?.client(HealthDefinition);
    process.kill(alice.services['qkd-source']?.pid as number, 'SIGSTOP');
    await eventually('the gateway misses it', 5_000, async () => {
      const { statuses } = (await gateway?.list({})) ?? {};
      const named = statuses?.['keyweave.v1.KeyAgreement']?.status;
      return statuses?.['']?.status === NOT_SERVING && named === NOT_SERVING ? true : undefined;
    });
    process.kill(alice.services['qkd-source']?.pid as number, 'SIGCONT');
  });
});

describe('the health port of a gateway alone', () => {
  it('is alive and has started, but lists the services that it cannot reach', async (t) => {
    const network = await startLocalNetwork({ names: ['Alice'] });
    t.after(() => network.stop());
    const alice = network.nodes[0] as LocalNode;
    // The node is gone; its files stay.
    alice.process.kill('SIGTERM');
    await once(alice.process, 'exit');
    const [port = 0, ...others] = await freePorts('127.0.0.1', 6);
    const names = ['gateway', 'qkd-source', 'pqc-source', 'peer-broker', 'hybridizer'];
    const addresses = Object.fromEntries(
      names.map((name, i) => [name, { host: '127.0.0.1', port: others[i] }]),
    );
    const file = `${alice.folder}/config.json`;
    const config = { ...JSON.parse(readFileSync(file, 'utf8')), health: { port } };
    writeFileSync(file, JSON.stringify(config));
    const child = spawn(
      process.execPath,
      [
        ...['--disable-warning=ExperimentalWarning', MAIN, 'service', 'gateway', '--config', file],
        ...['--peers', `${alice.folder}/trusted_peers_info.json`, '--addresses', JSON.stringify(addresses)],
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    const exited = once(child, 'exit');
    t.after(async () => {
      child.kill('SIGTERM');
      await exited;
    });
    await once(createInterface({ input: child.stdout }), 'line');
    const probe = probeOf(port);
    assert.equal(await probe('/livez'), '200 ok');
    assert.equal(await probe('/startupz'), '200 ok');
    const [first = '', ...rest] = (await probe('/readyz')).split('\n');
    assert.deepEqual([first, ...rest].map((line) => line.replace('503 ', '')).sort(), [
      'hybridizer: cannot be reached',
      'peer-broker: cannot be reached',
      'pqc-source: cannot be reached',
      'qkd-source: cannot be reached',
    ]);
  });
});
