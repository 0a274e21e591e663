import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type HealthPort, openHealthPort } from '#common/service/health-port.ts';
import { Readiness } from '#common/service/readiness.ts';

let readiness: Readiness;
let health: HealthPort;
beforeEach(async () => {
  readiness = new Readiness();
  health = await openHealthPort({ host: '127.0.0.1', port: 0 }, readiness);
});
afterEach(() => health.close());

async function probe(path: string, init: RequestInit = {}): Promise<[number, string]> {
  const response = await fetch(`http://127.0.0.1:${health.address.port}${path}`, init);
  return [response.status, await response.text()];
}

describe('openHealthPort', () => {
  it('while starting: alive, neither started nor ready', async () => {
    assert.deepEqual(await probe('/livez'), [200, 'ok\n']);
    assert.deepEqual(await probe('/startupz'), [503, 'starting\n']);
    assert.deepEqual(await probe('/readyz'), [503, 'starting\n']);
  });

  it('once started: ready for as long as nothing is missing, which it says in words, a line each', async () => {
    let problems: string[] = [];
    readiness.add('certificates', () => problems);
    readiness.started();
    assert.deepEqual(await probe('/startupz'), [200, 'ok\n']);
    assert.deepEqual(await probe('/readyz'), [200, 'ok\n']);
    problems = ['gateway has expired', 'tool has expired'];
    const words = 'certificates: gateway has expired\ncertificates: tool has expired\n';
    assert.deepEqual(await probe('/readyz'), [503, words]);
    assert.deepEqual(await probe('/livez'), [200, 'ok\n']);
    assert.deepEqual(await probe('/startupz'), [200, 'ok\n']);
  });

  it('while stopping: no longer ready, but alive', async () => {
    readiness.started();
    readiness.stopping();
    assert.deepEqual(await probe('/readyz'), [503, 'stopping\n']);
    assert.deepEqual(await probe('/livez'), [200, 'ok\n']);
  });

  it('answers HEAD without a text, and takes a query', async () => {
    assert.deepEqual(await probe('/livez?verbose', { method: 'HEAD' }), [200, '']);
  });

  for (const path of ['/', '/metrics', '/livez/', '/__proto__', '/constructor', '//livez']) {
    it(`has nothing at ${path}`, async () => assert.equal((await probe(path))[0], 404));
  }

  it('refuses anything but reading', async () => {
    assert.equal((await probe('/livez', { method: 'POST', body: 'x'.repeat(100_000) }))[0], 405);
  });

  it('drops a client that opens a connection and says nothing, and serves others meanwhile', async () => {
    const silent = connect(health.address.port, '127.0.0.1');
    const dropped = once(silent, 'close');
    silent.on('error', () => undefined);
    await once(silent, 'connect');
    assert.equal((await probe('/livez'))[0], 200);
    await dropped;
  });

  it('shows metrics where there are some, and says so where they cannot be had', async () => {
    let metrics = async () => 'up 1\n';
    const other = await openHealthPort({ host: '127.0.0.1', port: 0 }, readiness, () => metrics());
    const url = `http://127.0.0.1:${other.address.port}/metrics`;
    const answer = await fetch(url);
    assert.deepEqual([answer.status, await answer.text()], [200, 'up 1\n']);
    assert.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
    metrics = () => Promise.reject(new Error('as the test says'));
    const failed = await fetch(url);
    assert.deepEqual([failed.status, await failed.text()], [500, 'the answer could not be made\n']);
    await other.close();
  });

  it('takes a subnet for the own address in it, and no other', async () => {
    const other = await openHealthPort({ host: '127.0.0.0/8', port: 0 }, readiness);
    assert.equal(other.address.host, '127.0.0.1');
    assert.equal((await fetch(`http://127.0.0.1:${other.address.port}/livez`)).status, 200);
    await other.close();
    await assert.rejects(openHealthPort({ host: '198.51.100.0/24', port: 0 }, readiness), {
      reason: 'BAD_CONFIG',
      detail: 'this machine has no address in 198.51.100.0/24',
    });
  });

  it('names the address that it cannot have', async () => {
    const { port } = health.address;
    await assert.rejects(openHealthPort({ host: '127.0.0.1', port }, readiness), {
      reason: 'BAD_CONFIG',
      detail: `the health port 127.0.0.1:${port} cannot be bound`,
    });
  });
});
