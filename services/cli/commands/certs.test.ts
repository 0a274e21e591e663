import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createCa } from '#certs/issue.ts';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { spiffeIdOfCertificate, uriOfCertificate } from '#common/tls/spiffe.ts';
import { EXIT, type ExitCode } from '../ending/exit-codes.ts';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));
const CLOCK = new URL('../../../test/helpers/shifted-clock.ts', import.meta.url);
const DAY_MS = 86_400_000;
const UUID = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';

let folder: string;
let config: string;
/** How far ahead the wall clock of the commands is. */
let days: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyweave-certs-'));
  days = 0;
  config = at('config.json');
  const certificate_config = {
    certificate_ip: '127.0.0.1',
    cert_authority_path: at('ca', 'ca.crt'),
    crl_path: at('ca', 'ca.crl'),
    cert_path: at('certs', 'node.crt'),
    key_path: at('certs', 'node.key'),
  };
  const addresses = {
    hybridization_server_address: { host: '127.0.0.1', port: 1 },
    qkd_address: { host: '127.0.0.1', port: 2 },
    peer_local_address: { host: '127.0.0.1', port: 3 },
  };
  writeFileSync(config, JSON.stringify({ uuid: UUID, certificate_config, ...addresses }));
  writeFileSync(at('trusted_peers_info.json'), '{}');
});
afterEach(() => rmSync(folder, { recursive: true }));

const at = (...names: string[]) => join(folder, ...names);
const read = (...names: string[]) => new X509Certificate(readFileSync(at(...names)));

/** Runs a command; what it prints, errors too, and its status. */
function run(...args: string[]): Promise<{ text: string; status: number }> {
  writeFileSync(at('clock'), String(days * DAY_MS));
  const env = { ...process.env, KEYWEAVE_TEST_CLOCK: at('clock'), NODE_OPTIONS: `--import=${CLOCK}` };
  const flags = ['--disable-warning=ExperimentalWarning', MAIN];
  return new Promise((resolve) => {
    execFile(process.execPath, [...flags, ...args], { env }, (error, stdout, stderr) =>
      resolve({ text: stdout + stderr, status: error === null ? 0 : Number(error.code) }),
    );
  });
}

/** Runs a command that must succeed. */
async function ok(...args: string[]): Promise<string> {
  const { text, status } = await run(...args);
  assert.equal(status, 0, text);
  return text;
}

/** Runs a command that must fail, with this exit code and these words. */
async function fails(code: ExitCode, words: RegExp, ...args: string[]): Promise<void> {
  const { text, status } = await run(...args);
  assert.equal(status, code, text);
  assert.match(text, words);
}

const CA = () => ['--ca', at('ca')];

async function issuedNode(): Promise<void> {
  await ok('certs', 'ca', '--out', at('ca'), '--days', '100');
  await ok('certs', 'revoke', ...CA(), '--days', '30');
  await ok('certs', 'issue', '--config', config, '--days', '9');
}

const renew = ['certs', 'renew', '--days', '9', '--config'];

describe('certs show', () => {
  const show = async () => {
    const { text, status } = await run('certs', 'show', '--config', config, '--json');
    return { status, entries: JSON.parse(text) as Record<string, unknown>[] };
  };

  it('tells who, until when, what for, and where, of a node', async () => {
    await issuedNode();
    const { entries, status } = await show();
    assert.equal(status, 0);
    assert.deepEqual(
      entries.map(({ who, use }) => [who, use]),
      [
        ['CN=Keyweave CA keyweave', 'CA'],
        ...SERVICE_NAMES.map((name) => [`spiffe://keyweave/node/${UUID}/${name}`, 'server and client']),
      ],
    );
    const gateway = read('certs', 'gateway.crt');
    const { until, from, daysLeft, state, serial, path } = entries[1] ?? {};
    assert.deepEqual([daysLeft, state, path], [8, 'good', at('certs', 'gateway.crt')]);
    assert.equal(until, gateway.validToDate.toISOString().replace('.000', ''));
    assert.equal(from, gateway.validFromDate.toISOString().replace('.000', ''));
    assert.equal(serial, gateway.serialNumber);
    const table = await ok('certs', 'show', '--config', config);
    assert.match(table, /^who +use +until +days left +state +serial +of CA +file\n/);
    assert.match(
      table,
      /\/gateway +server and client +20\S+Z +8 +good +[0-9A-F]{32} +[0-9A-F]{8} +\S+gateway\.crt\n/,
    );
    assert.ok(entries.every(({ ca }) => ca === read('ca', 'ca.crt').serialNumber));
  });

  it('takes single files, and several certificates of one', async () => {
    await issuedNode();
    writeFileSync(at('both.pem'), `${read('ca', 'ca.crt')}${read('certs', 'node.crt')}`);
    const entries = JSON.parse(await ok('certs', 'show', at('both.pem'), '--json'));
    assert.deepEqual(
      entries.map(({ use }: { use: string }) => use),
      ['CA', 'server and client'],
    );
    await fails(EXIT.USAGE, /nothing to show/, 'certs', 'show');
    await fails(EXIT.FILES, /config\.json: holds no PEM certificate/, 'certs', 'show', config);
  });

  it('fails where one has come to its end or is revoked', async () => {
    await issuedNode();
    await ok('certs', 'revoke', at('certs', 'gateway.crt'), ...CA(), '--reason', 'superseded');
    const states = async () => (await show()).entries.map(({ state }) => state).slice(1, 3);
    assert.deepEqual(await states(), ['revoked', 'good']);
    assert.equal((await show()).status, 1);
    days = 8;
    assert.deepEqual(await states(), ['revoked', 'last-day']);
    days = 10;
    assert.deepEqual(await states(), ['revoked', 'expired']);
  });
});

describe('certs renew', () => {
  it('leaves alone what is good, renews what is near its end, and all by force', async () => {
    await issuedNode();
    const before = read('certs', 'gateway.crt').serialNumber;
    assert.match(await ok(...renew, config), /gateway\.crt is good for a while; left as it is\n/);
    assert.equal(read('certs', 'gateway.crt').serialNumber, before);
    const forced = await ok(...renew, config, '--force', '--service', 'gateway');
    assert.match(forced, /^renewed \S+gateway\.crt \(as asked\)\n$/);
    assert.notEqual(read('certs', 'gateway.crt').serialNumber, before);
    days = 6.5;
    const text = await ok(...renew, config);
    assert.equal(text.match(/^renewed .* \(a third of its life is left\)$/gm)?.length, 5, text);
    const end = read('certs', 'node.crt').validToDate.getTime();
    assert.ok(Math.abs(end - Date.now() - 15.5 * DAY_MS) < DAY_MS / 4);
  });

  it('makes what is missing or revoked, and the certificate of a tool only where there is one', async () => {
    await issuedNode();
    rmSync(at('certs', 'gateway.key'));
    await ok('certs', 'revoke', at('certs', 'hybridizer.crt'), ...CA());
    const text = await ok(...renew, config);
    assert.match(text, /renewed \S+gateway\.crt \(missing\)/);
    assert.match(text, /renewed \S+hybridizer\.crt \(revoked\)/);
    assert.doesNotMatch(text, /tool/);
    await ok('certs', 'issue', '--config', config, '--service', 'tool');
    assert.match(await ok(...renew, config, '--force'), /renewed \S+tool\.crt/);
  });

  it('takes the key of the CA from wherever it is', async () => {
    await issuedNode();
    mkdirSync(at('safe'));
    renameSync(at('ca', 'ca.key'), at('safe', 'the.key'));
    await fails(
      EXIT.FILES,
      /missing \S+ca\.key; issue where the CA's key is, or name it with --ca-key/,
      ...renew,
      config,
    );
    const key = ['--ca-key', at('safe', 'the.key')];
    assert.match(await ok(...renew, config, '--force', ...key), /renewed/);
    await fails(
      EXIT.USAGE,
      /there is no service "gatewya"/,
      ...renew,
      config,
      ...key,
      '--service',
      'gatewya',
    );
  });
});

describe('certs issue-client', () => {
  const issue = (name: string) => ['certs', 'issue-client', name, ...CA(), '--out', at('clients')];

  it('issues what an application shows to a listener, and nothing that a service takes for its own', async () => {
    await issuedNode();
    await ok(...issue('billing-1'));
    const certificate = read('clients', 'billing-1.crt');
    assert.equal(uriOfCertificate(certificate), 'spiffe://keyweave/client/billing-1');
    assert.equal(spiffeIdOfCertificate(certificate), undefined, 'no service of a node');
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2'], 'client authentication');
    assert.ok(certificate.verify(read('ca', 'ca.crt').publicKey) && !certificate.ca);
    const key = at('clients', 'billing-1.key');
    assert.ok(certificate.checkPrivateKey(createPrivateKey(readFileSync(key))));
    assert.equal(statSync(key).mode & 0o777, 0o600);
    await fails(
      EXIT.FILES,
      /billing-1\.crt and \S+\.key exist; .*--force replaces them/,
      ...issue('billing-1'),
    );
    await ok(...issue('billing-1'), '--force');
  });

  it('refuses names that are none', async () => {
    await issuedNode();
    for (const name of ['', '../x', 'x'.repeat(65)])
      await fails(EXIT.USAGE, /cannot name a client/, ...issue(name));
  });
});

describe('certs revoke', () => {
  it('knows its reasons, and what is no certificate', async () => {
    await issuedNode();
    const revoke = ['certs', 'revoke', ...CA()];
    await fails(
      EXIT.USAGE,
      /there is no reason "constructor"; there are unspecified, /,
      ...revoke,
      '--reason',
      'constructor',
    );
    await fails(EXIT.FILES, /config\.json: holds no PEM certificate/, ...revoke, config);
  });
});

describe('check-config', () => {
  it('says what is near its end, and fails where something is past it, by name', async () => {
    assert.match(await ok('check-config', '--elsewhere', folder), /: ok, node/, 'nothing is there yet');
    await issuedNode();
    assert.doesNotMatch(await ok('check-config', folder), /warning/);
    days = 7;
    const warned = await ok('check-config', folder);
    assert.equal(warned.match(/: warning: \S+\.crt: the certificate of spiffe:\S+ ends on /g)?.length, 5);
    days = 10;
    await fails(
      EXIT.FILES,
      /gateway\.crt: the certificate of spiffe:\S+ expired on 20/,
      'check-config',
      folder,
    );
    await ok('check-config', '--elsewhere', folder);
  });

  it('looks at the CA, too', async () => {
    mkdirSync(at('ca'));
    const short = await createCa({ network: 'keyweave', days: 1 });
    writeFileSync(at('ca', 'ca.crt'), short.certificate);
    days = 2;
    await fails(
      EXIT.FILES,
      /ca\.crt: the certificate of CN=Keyweave CA keyweave expired on/,
      'check-config',
      folder,
    );
  });
});
