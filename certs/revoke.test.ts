import 'reflect-metadata';
import assert from 'node:assert/strict';
import { KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import * as x509 from '@peculiar/x509';
import { isReason } from '#common/errors/keyweave-error.ts';
import { readRevocationLists, serialOf } from '#common/tls/x509/revocation-list.ts';
import type { IssuingCa } from './ca-key.ts';
import { createCa, importCaKey, issueClientCertificate, pemText } from './issue.ts';
import { revoke } from './revoke.ts';

x509.cryptoProvider.set(webcrypto as never);

const RSA = {
  name: 'RSASSA-PKCS1-v1_5',
  hash: 'SHA-256',
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
};
const NOW = Date.UTC(2030, 0, 15, 12);
const DAY_MS = 86_400_000;

let folder: string;
let crlPath: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyweave-revoke-'));
  crlPath = join(folder, 'lists', 'ca.crl');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function issuingCa(): Promise<IssuingCa> {
  const ca = await createCa({ network: 'testnet', days: 10 });
  return { ...ca, parsed: new X509Certificate(ca.certificate) };
}
const ca = await issuingCa();
const client = async (of = ca) =>
  new X509Certificate(
    (await issueClientCertificate({ ca: of, network: 'testnet', name: 'app', days: 1 })).certificate,
  );
const listNow = async (certificates: X509Certificate[], of = ca, nowMs = NOW) =>
  revoke({ ca: of, crlPath, certificates, reason: 'keyCompromise', days: 30, nowMs });
const lists = () => readRevocationLists(readFileSync(crlPath, 'utf8'));

/** What another implementation reads. */
function read() {
  const [der = new ArrayBuffer()] = x509.PemConverter.decode(readFileSync(crlPath, 'latin1'));
  return new x509.X509Crl(der);
}

const numberIn = (list: x509.X509Crl) =>
  Buffer.from(list.getExtension('2.5.29.20')?.value ?? new ArrayBuffer());

describe('revoke', () => {
  it('makes a list, signed by the CA, with its dates, reason and number', async () => {
    const certificate = await client();
    assert.equal(await listNow([certificate]), 1);
    const [list] = lists();
    assert.deepEqual([...(list?.serials ?? [])], [serialOf(certificate)]);
    assert.equal(list?.isSignedBy(ca.parsed.publicKey), true);
    assert.deepEqual([list?.thisUpdateMs, list?.nextUpdateMs], [NOW, NOW + 30 * DAY_MS]);
    const other = read();
    assert.equal(await other.verify({ publicKey: new x509.X509Certificate(ca.certificate) }), true);
    assert.equal(other.entries[0]?.reason, x509.X509CrlReason.keyCompromise);
    assert.deepEqual(numberIn(other), Buffer.of(2, 1, 1));
  });

  it('adds to what is there, each certificate once, with the date of the first time', async () => {
    const [one, two] = [await client(), await client()];
    await listNow([one]);
    assert.equal(await listNow([two, one], ca, NOW + DAY_MS), 2);
    assert.deepEqual([...(lists()[0]?.serials ?? [])], [serialOf(one), serialOf(two)]);
    const dates = read().entries.map(({ revocationDate }) => revocationDate.getTime());
    assert.deepEqual(dates, [NOW, NOW + DAY_MS]);
  });

  it('counts on, past what one byte holds', async () => {
    const issuer = new x509.X509Certificate(ca.certificate);
    const { key, algorithm } = await importCaKey(ca.key);
    const old = await x509.X509CrlGenerator.create({
      ...{ issuer: issuer.subjectName, signingAlgorithm: algorithm, signingKey: key },
      extensions: [new x509.Extension('2.5.29.20', false, Buffer.of(2, 1, 127))],
    });
    crlPath = join(folder, 'ca.crl');
    writeFileSync(crlPath, pemText('X509 CRL', Buffer.from(old.rawData)));
    await listNow([]);
    assert.deepEqual(numberIn(read()), Buffer.of(2, 2, 0, 128));
  });

  it('signs the list anew where there is nothing to add', async () => {
    assert.equal(await listNow([]), 0);
    assert.equal(lists()[0]?.serials.size, 0);
    await listNow([], ca, NOW + DAY_MS);
    assert.equal(lists()[0]?.thisUpdateMs, NOW + DAY_MS);
  });

  it('takes serial numbers of any form, as other CAs give them', async () => {
    const issuer = new x509.X509Certificate(ca.certificate);
    const { key: signingKey, algorithm } = await importCaKey(ca.key);
    const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign']);
    const serials = ['05', '7f', '00ff', '00f0e0d0', '0102030405060708'];
    const made = await Promise.all(
      serials.map(async (serialNumber) => {
        const certificate = await x509.X509CertificateGenerator.create({
          ...{ serialNumber, subject: 'CN=x', issuer: issuer.subject, signingKey },
          ...{ signingAlgorithm: algorithm, publicKey: keys.publicKey },
        });
        return new X509Certificate(certificate.toString('pem'));
      }),
    );
    await listNow(made);
    assert.deepEqual([...(lists()[0]?.serials ?? [])].sort(), made.map(serialOf).sort());
    assert.equal(await listNow(made), serials.length, 'they are known as the same again');
  });

  it('leaves the lists of other CAs in the file', async () => {
    const other = await issuingCa();
    const theirs = await client(other);
    await listNow([theirs], other);
    await listNow([await client()]);
    await listNow([await client()]);
    assert.deepEqual(
      lists().map((list) => [list.serials.size, list.isSignedBy(other.parsed.publicKey)]),
      [
        [1, true],
        [2, false],
      ],
    );
  });

  it('keeps what another tool has written, whatever of it is optional', async () => {
    const issuer = new x509.X509Certificate(ca.certificate);
    const { key, algorithm } = await importCaKey(ca.key);
    const old = await x509.X509CrlGenerator.create({
      ...{ issuer: issuer.subjectName, signingAlgorithm: algorithm, signingKey: key },
      entries: [{ serialNumber: '17', revocationDate: new Date(NOW) }],
    });
    crlPath = join(folder, 'ca.crl');
    writeFileSync(crlPath, pemText('X509 CRL', Buffer.from(old.rawData)));
    assert.equal(await listNow([await client()]), 2);
    assert.ok(lists()[0]?.serials.has('17'));
  });

  it('signs with an RSA key, too', async () => {
    const keys = await webcrypto.subtle.generateKey(RSA, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      ...{ name: 'CN=Root', keys, signingAlgorithm: RSA },
      extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
    });
    const pem = certificate.toString('pem');
    const rsa = {
      certificate: pem,
      parsed: new X509Certificate(pem),
      key: KeyObject.from(keys.privateKey).export({ format: 'pem', type: 'pkcs1' }).toString(),
    };
    const theirs = await client(rsa);
    assert.equal(await listNow([theirs], rsa), 1);
    assert.equal(await read().verify({ publicKey: certificate }), true);
    assert.ok(lists()[0]?.isSignedBy(rsa.parsed.publicKey));
    assert.deepEqual([...(lists()[0]?.serials ?? [])], [serialOf(theirs)]);
  });

  it('refuses what the CA has not issued, and a file that is none of lists, and writes nothing', async () => {
    const theirs = await client(await issuingCa());
    await assert.rejects(listNow([await client(), theirs]), (error) => {
      assert.ok(isReason(error, 'BAD_CONFIG'));
      assert.match(String(error), /\(CN=app\) was not issued by this CA/);
      return true;
    });
    assert.equal(existsSync(crlPath), false);
    crlPath = join(folder, 'key.pem');
    writeFileSync(crlPath, ca.key);
    await assert.rejects(listNow([]), /key\.pem: holds no PEM of a certificate revocation list/);
    assert.equal(readFileSync(crlPath, 'utf8'), ca.key);
  });
});
