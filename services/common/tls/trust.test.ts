import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { createCa, issueServiceCertificate, type PemPair } from '#certs/issue.ts';
import { revoke } from '#certs/revoke.ts';
import { readTrust } from '#common/tls/trust.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-trust-'));
after(() => rmSync(folder, { recursive: true }));
const NOW = Date.UTC(2030, 0, 15, 12);
const DAY_MS = 86_400_000;

/** Two CAs of the same name, as one is when it is replaced. */
const older = await createCa({ network: 'keyweave', days: 10, nowMs: NOW });
const newer = await createCa({ network: 'keyweave', days: 20, nowMs: NOW });
const stranger = await createCa({ network: 'other', days: 20, nowMs: NOW });

let files = 0;
function file(...pems: string[]): string {
  const path = join(folder, `${files++}.pem`);
  writeFileSync(path, pems.join('\n'));
  return path;
}

async function leafOf(ca: PemPair, days = 1): Promise<X509Certificate> {
  const names = { network: 'keyweave', nodeUuid: 'x', service: 'gateway', names: [] };
  return new X509Certificate((await issueServiceCertificate({ ca, ...names, days, nowMs: NOW })).certificate);
}

/** A file with the list of a CA. */
async function listOf(ca: PemPair, certificates: X509Certificate[], path = file()): Promise<string> {
  rmSync(path, { force: true });
  const options = { crlPath: path, certificates, reason: 'superseded', days: 5, nowMs: NOW } as const;
  revoke({ ca: { ...ca, parsed: new X509Certificate(ca.certificate) }, ...options });
  return path;
}

const UNKNOWN = 'no CA that is trusted here has issued the certificate';
const REVOKED = 'the certificate is revoked';

describe('the CAs of a trust file', () => {
  it('may be several: what each has issued is taken, and tells who has', async () => {
    const trust = readTrust(file(older.certificate, newer.certificate));
    const [one, two] = [await leafOf(older), await leafOf(newer)];
    for (const leaf of [one, two]) assert.equal(trust.judge(leaf).refusal, undefined);
    assert.equal(trust.issuerOf(one)?.fingerprint256, new X509Certificate(older.certificate).fingerprint256);
    assert.equal(trust.issuerOf(two)?.fingerprint256, new X509Certificate(newer.certificate).fingerprint256);
    assert.equal(trust.judge(await leafOf(stranger)).refusal, UNKNOWN);
  });

  it('are told apart by their keys: one of the same name that was removed is unknown', async () => {
    const trust = readTrust(file(newer.certificate));
    assert.deepEqual(
      [trust.judge(await leafOf(older)), trust.judge(await leafOf(newer))].map(({ refusal }) => refusal),
      [UNKNOWN, undefined],
    );
  });

  it('end what they have issued when they end', async () => {
    const trust = readTrust(file(older.certificate, newer.certificate));
    const ends = async (ca: PemPair) => trust.judge(await leafOf(ca, 15)).notAfterMs;
    assert.deepEqual([await ends(older), await ends(newer)], [NOW + 10 * DAY_MS, NOW + 15 * DAY_MS]);
  });

  it('are named where they cannot be read', () => {
    const nowhere = join(folder, 'nowhere.crt');
    assert.throws(() => readTrust(nowhere), /^Error: .*nowhere\.crt: cannot be read \(ENOENT\)$/);
    assert.throws(() => readTrust(file('no PEM')), /\d\.pem: holds no PEM certificate/);
    const broken = older.certificate.replace(/\n.{8}/, '\nAAAAAAAA');
    assert.throws(
      () => readTrust(file(newer.certificate, broken)),
      /certificate 2 of the file cannot be read/,
    );
    assert.throws(() => readTrust(file(...Array(65).fill(older.certificate))), /more than 64 certificates/);
  });
});

describe('revocation lists beside them', () => {
  it('revoke what their CA has issued, and nothing else', async () => {
    const [gone, good] = [await leafOf(older), await leafOf(older)];
    const trust = readTrust(file(older.certificate, newer.certificate), await listOf(older, [gone]));
    assert.deepEqual(
      [gone, good, await leafOf(newer)].map((leaf) => trust.judge(leaf).refusal),
      [REVOKED, undefined, undefined],
    );
  });

  it('may be of several CAs in one file', async () => {
    const [one, two] = [await leafOf(older), await leafOf(newer)];
    const path = await listOf(older, [one]);
    revoke({
      ca: { ...newer, parsed: new X509Certificate(newer.certificate) },
      ...{ crlPath: path, certificates: [two], reason: 'unspecified', days: 5, nowMs: NOW },
    });
    const trust = readTrust(file(older.certificate, newer.certificate), path);
    assert.deepEqual(
      [one, two].map((leaf) => trust.judge(leaf).refusal),
      [REVOKED, REVOKED],
    );
    assert.equal(trust.lists.length, 2);
  });

  it('of a CA that was removed are left aside, also where the new one has its name', async () => {
    const path = await listOf(older, [await leafOf(older)]);
    assert.equal(readTrust(file(newer.certificate), path).lists.length, 0);
    assert.equal(readTrust(file(stranger.certificate), path).lists.length, 0);
  });

  it('that their CA has not signed are an error', async () => {
    const path = await listOf(older, []);
    const { readFileSync } = await import('node:fs');
    const pem = readFileSync(path, 'utf8');
    const der = Buffer.from(pem.replaceAll(/-----.*-----/g, ''), 'base64');
    der[der.length - 1] = (der.at(-1) as number) ^ 1;
    writeFileSync(path, `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`);
    assert.throws(
      () => readTrust(file(older.certificate), path),
      /\.pem: a list names CN=Keyweave CA keyweave as its issuer, which has not signed it/,
    );
  });

  it('must be there where the configuration names them', () => {
    assert.throws(
      () => readTrust(file(older.certificate), join(folder, 'no.crl')),
      /no\.crl: cannot be read/,
    );
  });
});
