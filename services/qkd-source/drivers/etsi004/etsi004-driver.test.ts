import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { createCa, issueServiceCertificate } from '#certs/issue.ts';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { openBoth, qkdDriverContract, qkdStreamName } from '#test/contract/qkd-driver-contract.ts';
import { ANY_PORT, driverPair, simulatedPairs } from '#test/helpers/driver-pairs.ts';
import { type KmeSimulatorOptions, startKmeSimulator } from '../../../kme-simulator/main.ts';
import { createEtsi004JsonDriver } from './etsi004-json.ts';

const never = new AbortController().signal;

function settings(change: object = {}) {
  return nodeConfigSchema.shape.qkd.parse({ timeout: '20s', ...change });
}

const pair = (t: TestContext, simulator: Partial<KmeSimulatorOptions> = {}, change: object = {}) =>
  driverPair(t, (address, qkd) => createEtsi004JsonDriver(address, qkd), simulator, change);

const simulated = (simulator: Partial<KmeSimulatorOptions>, change: object) =>
  simulatedPairs((address, qkd) => createEtsi004JsonDriver(address, qkd), simulator, change);

qkdDriverContract('joined by KSID', simulated({}, {}));
qkdDriverContract('paired by URIs', simulated({}, { join: 'uris' }));
qkdDriverContract('a new connection for each call, learnt', simulated({ habit: 'close-after-answer' }, {}));
qkdDriverContract(
  'a new connection for each call',
  simulated({ habit: 'close-after-answer' }, { connection: 'per-call' }),
);
qkdDriverContract('reused connections', simulated({}, { connection: 'reuse' }));
qkdDriverContract('one read is one request', simulated({ habit: 'read-once' }, {}));
qkdDriverContract('answers byte by byte', simulated({ habit: 'byte-by-byte' }, {}));
qkdDriverContract('keys in base64', simulated({ keyFormat: 'base64' }, {}));
qkdDriverContract('keys in hex', simulated({ keyFormat: 'hex' }, {}));

describe('ETSI 004 JSON driver and simulated key managers', () => {
  it('reads the same keys with fixed application names', async (t) => {
    const names = { source_application: 'Application1', destination_application: 'Application4' };
    const both = await pair(t, {}, names);
    const [atA, atB] = await openBoth(both);
    assert.deepEqual(await both.a.fetch(atA, 0n, 5, 32, never), await both.b.fetch(atB, 0n, 5, 32, never));
  });

  it('meets at key managers that answer only when both ends have come', async (t) => {
    const { a, b } = await pair(t, { blocking: true });
    const stream = qkdStreamName();
    const [atA, atB] = await Promise.all([a.open(stream, 32, '', never), b.open(stream, 32, '', never)]);
    assert.deepEqual(await a.fetch(atA, 0n, 2, 32, never), await b.fetch(atB, 0n, 2, 32, never));
  });

  it('hears from a blocking key manager that nobody came', async (t) => {
    const { kme, a } = await pair(t, { blocking: true }, { timeout: '200ms' });
    await assert.rejects(a.open(qkdStreamName(), 32, '', never), /QKD_UNAVAILABLE: .*status 6/);
    assert.equal(kme.state().streams, 0);
  });

  it('reads a scarce key manager to its end and no further', async (t) => {
    const { kme, a, b } = await pair(t, { rateBps: 1, bufferBytes: 7 * 32 });
    const [atA, atB] = await openBoth({ a, b });
    const keys = await a.fetch(atA, 0n, 20, 32, never);
    assert.equal(keys.length, 7 * 32);
    assert.equal((await a.fetch(atA, 7n, 1, 32, never)).length, 0);
    assert.deepEqual(await b.fetch(atB, 0n, 20, 32, never), keys);
    assert.equal(kme.state().keysMade, 7);
  });

  it('sends all calls over a few connections where they stay open', async (t) => {
    const { kme, a, b } = await pair(t, {}, { connection: 'reuse' });
    for (let i = 0; i < 20; i++) {
      const [atA] = await openBoth({ a, b });
      await a.fetch(atA, 0n, 10, 32, never);
    }
    assert.ok((kme.state().ends[0]?.connections ?? 0) <= 3);
  });

  it('falls back to URIs only when the key manager refuses the KSID', async (t) => {
    const kme = await startKmeSimulator({ ends: [ANY_PORT, ANY_PORT], warn: () => undefined });
    const [one, two] = kme.addresses;
    assert.ok(one && two);
    const drivers = [settings(), settings(), settings({ join: 'ksid' })].map((qkd, i) =>
      createEtsi004JsonDriver(i === 0 ? one : two, qkd),
    );
    t.after(async () => {
      for (const driver of drivers) driver.stop();
      await kme.stop();
    });
    const [a, b, strict] = drivers;
    assert.ok(a && b && strict);
    const foreign = await a.open({ ...qkdStreamName(), epoch: 3 }, 32, '', never);
    const stream = qkdStreamName();
    const atA = await a.open(stream, 32, '', never);
    await assert.rejects(strict.open(stream, 32, foreign, never), /status 5/);
    assert.equal(await b.open(stream, 32, foreign, never), atA);
  });

  it('opens anew at a key manager that has lost its streams', async (t) => {
    const first = await pair(t);
    const [atA] = await openBoth(first);
    await first.a.fetch(atA, 0n, 3, 32, never);
    await first.kme.stop();
    const again = await startKmeSimulator({ ends: first.kme.addresses, warn: () => undefined });
    t.after(() => again.stop());
    const [renewedA, renewedB] = await openBoth(first);
    // Idle connections of before are gone by now: both opens had to find new ones.
    await assert.rejects(first.a.fetch(atA, 3n, 1, 32, never), (error) => isReason(error, 'QKD_UNAVAILABLE'));
    assert.deepEqual(
      await first.a.fetch(renewedA, 0n, 3, 32, never),
      await first.b.fetch(renewedB, 0n, 3, 32, never),
    );
  });
});

describe('ETSI 004 JSON driver over TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyweave-qkd-'));
  const file = (name: string) => join(folder, name);
  const tls = { ca_path: file('ca.crt'), cert_path: file('app.crt'), key_path: file('app.key') };
  let simulator: Partial<KmeSimulatorOptions>;

  before(async () => {
    const ca = await createCa({ network: 'test', days: 1 });
    const issue = (service: string, names: string[]) =>
      issueServiceCertificate({
        ca,
        network: 'test',
        nodeUuid: qkdStreamName().sourceNode,
        service,
        names,
        days: 1,
      });
    const [server, app] = [await issue('kme', ['127.0.0.1']), await issue('app', [])];
    writeFileSync(file('ca.crt'), ca.certificate);
    writeFileSync(file('other.crt'), (await createCa({ network: 'other', days: 1 })).certificate);
    writeFileSync(file('app.crt'), app.certificate);
    writeFileSync(file('app.key'), app.key);
    const { certificate: cert, key } = server;
    simulator = { tls: { cert, key, ca: ca.certificate, requestCert: true, rejectUnauthorized: true } };
  });
  after(() => rmSync(folder, { recursive: true }));

  it('reads the same keys at both ends', async (t) => {
    for (const change of [{ tls }, { tls: { ...tls, server_name: 'kme' } }]) {
      const both = await pair(t, simulator, change);
      const [atA, atB] = await openBoth(both);
      assert.deepEqual(
        await both.a.fetch(atA, 0n, 40, 32, never),
        await both.b.fetch(atB, 0n, 40, 32, never),
      );
    }
  });

  it('refuses a key manager of another CA or name, and one that it cannot show a certificate', async (t) => {
    const bad = [
      { ...tls, ca_path: file('other.crt') },
      { ...tls, server_name: 'other' },
      { ca_path: tls.ca_path },
    ];
    for (const change of bad) {
      const { a } = await pair(t, simulator, { tls: change });
      await assert.rejects(a.open(qkdStreamName(), 32, '', never), (error) =>
        isReason(error, 'QKD_UNAVAILABLE'),
      );
    }
  });

  it('does not start with files that cannot be used', () => {
    const change = { tls: { ...tls, ca_path: file('missing.crt') } };
    assert.throws(
      () => createEtsi004JsonDriver(ANY_PORT, settings(change)),
      (error) => isReason(error, 'BAD_CONFIG'),
    );
  });
});
