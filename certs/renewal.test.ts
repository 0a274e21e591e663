import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { systemClock } from '#common/time/clock.ts';
import { issueFor, renewWhereDue } from './ensure.ts';
import { createCa } from './issue.ts';
import { BACKDATE_MS, renewalReason } from './life.ts';
import { startRenewal } from './renewal.ts';
import { revoke } from './revoke.ts';

const DAY_MS = 86_400_000;
const UUID = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const NOW = Date.now();

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyweave-renewal-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const caPath = () => join(folder, 'ca', 'ca.crt');
const keyPath = () => join(folder, 'ca', 'ca.key');
const certOf = (base: string) => new X509Certificate(readFileSync(join(folder, 'certs', `${base}.crt`)));
const endOf = (base: string) => certOf(base).validToDate.getTime();

/** A node whose gateway has a certificate of nine days. */
async function node({ caDays = 100 } = {}) {
  mkdirSync(join(folder, 'ca'));
  const ca = await createCa({ network: 'keyweave', days: caDays, nowMs: NOW });
  writeFileSync(caPath(), ca.certificate);
  writeFileSync(keyPath(), ca.key);
  const address = { host: '127.0.0.1', port: 1 };
  const config = nodeConfigSchema.parse({
    uuid: UUID,
    certificate_config: {
      ...{ certificate_ip: '10.1.2.3', cert_authority_path: caPath() },
      ...{ cert_path: join(folder, 'certs', 'node.crt'), key_path: join(folder, 'certs', 'node.key') },
    },
    ...{ hybridization_server_address: address, qkd_address: address, peer_local_address: address },
  });
  await issueFor(config, 'gateway', 9);
  return { ca, config };
}

describe('renewWhereDue', () => {
  /** As if `days` had gone by: whether the gateway's certificate is another one then. */
  async function isRenewed(config: Awaited<ReturnType<typeof node>>['config'], days: number) {
    const before = certOf('gateway').serialNumber;
    const lines: string[] = [];
    const log = { info: (text: string) => void lines.push(text) };
    await renewWhereDue(config, ['gateway', 'hybridizer'], log, NOW + days * DAY_MS);
    const renewed = certOf('gateway').serialNumber !== before;
    assert.deepEqual(lines, renewed ? ['renewed a certificate'] : []);
    return renewed;
  }

  it('renews at a third of the life, as long as before, and makes nothing that was not there', async (t) => {
    const { config } = await node();
    assert.equal(await isRenewed(config, 5.9), false);
    const { now } = Date;
    t.mock.method(Date, 'now', () => now() + 6.1 * DAY_MS);
    assert.equal(await isRenewed(config, 6.1), true);
    const life = endOf('gateway') - certOf('gateway').validFromDate.getTime();
    assert.ok(Math.abs(life - BACKDATE_MS - 9 * DAY_MS) < 10_000, `${life / DAY_MS} days`);
    assert.equal(statSync(join(folder, 'certs', 'gateway.key')).mode & 0o777, 0o600);
    assert.throws(() => certOf('hybridizer'), /ENOENT/);
  });

  it('does not renew for ever what ends with its CA', async () => {
    const { config } = await node({ caDays: 6 });
    for (const days of [4, 5, 5.9]) assert.equal(await isRenewed(config, days), false, `day ${days}`);
  });

  it('renews with the new CA what ends with the old one', async () => {
    const { config, ca } = await node({ caDays: 6 });
    const newer = await createCa({ network: 'keyweave', days: 100, nowMs: NOW });
    writeFileSync(caPath(), `${ca.certificate}\n${newer.certificate}`);
    writeFileSync(keyPath(), newer.key);
    assert.equal(await isRenewed(config, 2.9), false);
    assert.equal(await isRenewed(config, 3.1), true);
    assert.ok(certOf('gateway').verify(new X509Certificate(newer.certificate).publicKey));
  });
});

describe('startRenewal', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }));
  afterEach(() => mock.timers.reset());

  async function running() {
    const { config } = await node();
    const lines: string[] = [];
    let said = Promise.withResolvers<void>();
    const note = (text: string) => {
      lines.push(text);
      said.resolve();
    };
    let [wallMs, steadyMs] = [NOW, 0];
    const clock = { ...systemClock, wallMs: () => wallMs, monotonicMs: () => steadyMs };
    const renewal = startRenewal(config, ['gateway'], { log: { info: note, warning: note }, clock });
    /** Ten seconds later: what it says. */
    const look = async ({ expected = true } = {}) => {
      said = Promise.withResolvers();
      steadyMs += 10_000;
      mock.timers.tick(10_000);
      if (expected) await said.promise;
      // A look ends some turns after its line.
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      return lines.splice(0);
    };
    const later = (ms: { wall?: number; steady?: number }) => {
      wallMs += ms.wall ?? 0;
      steadyMs += ms.steady ?? 0;
    };
    return { renewal, look, later };
  }

  it('renews by the wall clock what the CA’s key lies beside of, while it runs', async () => {
    const { renewal, look, later } = await running();
    assert.deepEqual(await look({ expected: false }), []);
    later({ steady: 30 * DAY_MS });
    assert.deepEqual(await look({ expected: false }), [], 'the wall clock has not moved');
    later({ wall: 6.1 * DAY_MS });
    assert.deepEqual(await look(), ['renewed a certificate']);
    renewal.close();
  });

  it('leaves it to others where that key is somewhere else', async () => {
    const { renewal, look, later } = await running();
    rmSync(keyPath());
    later({ wall: 8.5 * DAY_MS });
    assert.deepEqual(await look({ expected: false }), []);
    renewal.close();
  });

  it('tells a failure once an hour, tries again each minute, and succeeds when it can', async () => {
    const { renewal, look, later } = await running();
    const key = readFileSync(keyPath());
    writeFileSync(keyPath(), 'no key');
    later({ wall: 6.1 * DAY_MS });
    assert.deepEqual(await look(), ['certificates could not be renewed']);
    later({ steady: 60_000 });
    assert.deepEqual(await look({ expected: false }), []);
    later({ steady: 3_600_000 });
    assert.deepEqual(await look(), ['certificates could not be renewed']);
    writeFileSync(keyPath(), key);
    assert.deepEqual(await look({ expected: false }), [], 'within the minute');
    later({ steady: 60_000 });
    assert.deepEqual(await look(), ['renewed a certificate']);
    renewal.close();
  });
});

describe('why a certificate should be issued anew', () => {
  const filesOf = (base: string) => ({
    caPath: caPath(),
    certPath: join(folder, 'certs', `${base}.crt`),
    keyPath: join(folder, 'certs', `${base}.key`),
  });
  const reason = (pem: string, crlPath?: string, base = 'gateway') =>
    renewalReason(filesOf(base), { ca: new X509Certificate(pem), caPath: caPath(), crlPath });

  it('is said in words, and is nothing where it is good', async (t) => {
    const { ca } = await node();
    assert.equal(reason(ca.certificate), undefined);
    assert.equal(reason(ca.certificate, undefined, 'hybridizer'), 'missing');
    const other = await createCa({ network: 'keyweave', days: 1 });
    assert.equal(reason(other.certificate), 'of another CA');
    const crlPath = join(folder, 'ca.crl');
    const options = { ca: { ...ca, parsed: new X509Certificate(ca.certificate) }, crlPath, days: 1 };
    revoke({ ...options, certificates: [certOf('gateway')], reason: 'superseded' });
    assert.equal(reason(ca.certificate, crlPath), 'revoked');
    t.mock.method(Date, 'now', () => NOW + 6.1 * DAY_MS);
    assert.ok(systemClock.wallMs() > NOW + 6 * DAY_MS);
    assert.equal(reason(ca.certificate), 'a third of its life is left');
    chmodSync(filesOf('gateway').keyPath, 0o600);
    writeFileSync(filesOf('gateway').keyPath, ca.key);
    assert.equal(reason(ca.certificate), 'key of another one');
    writeFileSync(filesOf('gateway').certPath, 'x');
    assert.equal(reason(ca.certificate), 'not readable');
  });
});
