import 'reflect-metadata';
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { beforeEach, describe, it } from 'node:test';
import * as x509 from '@peculiar/x509';
import { isReason } from '#common/errors/keyweave-error.ts';
import { createCa, issueClientCertificate, issueServiceCertificate, type PemPair } from './issue.ts';

const UUID = 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa';
const NOW = Date.UTC(2030, 0, 15, 12);
const DAY_MS = 86_400_000;
const FIVE_MINUTES_MS = 300_000;

const { subtle } = webcrypto;
/** DER of private keys on their way in and out. */
const keysSeen: Uint8Array[] = [];
const { exportKey, importKey } = subtle;
subtle.exportKey = (async (...args: Parameters<typeof exportKey>) => {
  const exported = await exportKey.apply(subtle, args);
  if (exported instanceof ArrayBuffer && args[0] === 'pkcs8') keysSeen.push(new Uint8Array(exported));
  return exported;
}) as typeof exportKey;
let importedKeys: webcrypto.CryptoKey[] = [];
subtle.importKey = (async (...args: Parameters<typeof importKey>) => {
  const imported = await importKey.apply(subtle, args);
  if (args[0] === 'pkcs8') {
    keysSeen.push(args[1] as Uint8Array);
    importedKeys.push(imported);
  }
  return imported;
}) as typeof importKey;

const ca = await createCa({ network: 'testnet', days: 10, nowMs: NOW });

beforeEach(() => {
  keysSeen.length = 0;
  importedKeys = [];
});

const issue = (change: object = {}): Promise<PemPair> =>
  issueServiceCertificate({
    ca,
    network: 'testnet',
    nodeUuid: UUID,
    service: 'gateway',
    names: ['10.1.2.3', '::1', 'alice.example'],
    days: 1.5,
    nowMs: NOW,
    ...change,
  });

const extension = (pem: string, oid: string) => {
  const found = new x509.X509Certificate(pem).getExtension(oid);
  assert.ok(found, `no extension ${oid}`);
  return found;
};
const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
const EXTENDED_KEY_USAGE = '2.5.29.37';

describe('a CA', () => {
  it('signs itself, may issue leaves only, and says so in critical extensions', () => {
    const certificate = new X509Certificate(ca.certificate);
    assert.equal(certificate.subject, 'CN=Keyweave CA testnet');
    assert.ok(
      certificate.ca && certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey),
    );
    const constraints = extension(ca.certificate, BASIC_CONSTRAINTS) as x509.BasicConstraintsExtension;
    assert.deepEqual([constraints.ca, constraints.pathLength, constraints.critical], [true, 0, true]);
    const usages = extension(ca.certificate, KEY_USAGE) as x509.KeyUsagesExtension;
    assert.equal(usages.usages, x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign);
    assert.equal(usages.critical, true);
  });

  it('holds from five minutes before it is made, for its days', () => {
    const { validFromDate, validToDate } = new X509Certificate(ca.certificate);
    assert.equal(validFromDate.getTime(), NOW - FIVE_MINUTES_MS);
    assert.equal(validToDate.getTime(), NOW + 10 * DAY_MS);
  });

  it('is of now where no time is given', async () => {
    const before = Date.now();
    const { certificate } = await createCa({ network: 'testnet', days: 1 });
    const from = new X509Certificate(certificate).validFromDate.getTime() + FIVE_MINUTES_MS;
    assert.ok(from >= before - 1_000 && from <= Date.now());
  });
});

describe('a certificate of a service', () => {
  it('is issued by the CA, for both ends of mutual TLS, and may issue nothing', async () => {
    const { certificate: pem, key } = await issue();
    const certificate = new X509Certificate(pem);
    const issuer = new X509Certificate(ca.certificate);
    assert.ok(certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey) && !certificate.ca);
    assert.equal(certificate.subject, 'CN=gateway');
    assert.ok(certificate.checkPrivateKey(createPrivateKey(key)));
    const constraints = extension(pem, BASIC_CONSTRAINTS) as x509.BasicConstraintsExtension;
    assert.deepEqual([constraints.ca, constraints.critical], [false, true]);
    const usages = extension(pem, KEY_USAGE) as x509.KeyUsagesExtension;
    assert.deepEqual([usages.usages, usages.critical], [x509.KeyUsageFlags.digitalSignature, true]);
    const extended = extension(pem, EXTENDED_KEY_USAGE) as x509.ExtendedKeyUsageExtension;
    assert.deepEqual(
      [...extended.usages],
      [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth],
    );
  });

  it('carries one SPIFFE id and every name, once', async () => {
    const { certificate } = await issue({ names: ['10.1.2.3', '::1', 'alice.example', 'gateway'] });
    assert.deepEqual(new X509Certificate(certificate).subjectAltName?.split(', '), [
      `URI:spiffe://testnet/node/${UUID}/gateway`,
      'DNS:gateway',
      'DNS:localhost',
      `DNS:${UUID}`,
      'IP Address:10.1.2.3',
      'IP Address:0:0:0:0:0:0:0:1',
      'DNS:alice.example',
    ]);
  });

  it('holds from five minutes before it is issued, for its days or parts of them', async () => {
    const { validFromDate, validToDate } = new X509Certificate((await issue()).certificate);
    assert.equal(validFromDate.getTime(), NOW - FIVE_MINUTES_MS);
    assert.equal(validToDate.getTime(), NOW + 1.5 * DAY_MS);
  });

  it('is of now where no time is given', async () => {
    const before = Date.now();
    const { certificate } = await issue({ nowMs: undefined });
    const from = new X509Certificate(certificate).validFromDate.getTime() + FIVE_MINUTES_MS;
    assert.ok(from >= before - 1_000 && from <= Date.now());
  });

  it('has a serial number of its own, positive and of 16 bytes (RFC 5280, 4.1.2.2)', async () => {
    const serials = await Promise.all(
      Array.from({ length: 24 }, async () => new X509Certificate((await issue()).certificate).serialNumber),
    );
    assert.equal(new Set(serials).size, serials.length);
    const firsts = serials.map((serial) => {
      assert.match(serial, /^[0-9A-F]{32}$/);
      return Number.parseInt(serial.slice(0, 2), 16);
    });
    assert.ok(firsts.every((first) => (first & 0xc0) === 0x40));
    assert.ok(new Set(firsts).size > 4, 'the first byte hardly varies');
    assert.ok(firsts.some((first) => (first & 1) === 0));
  });

  it('leaves no private key behind in memory that is let go, and none that can be taken out again', async () => {
    await issue();
    assert.equal(keysSeen.length, 2);
    assert.ok(keysSeen.every((key) => key.every((byte) => byte === 0)));
    assert.deepEqual(
      importedKeys.map(({ extractable }) => extractable),
      [false],
    );
  });
});

describe('the key of a CA', () => {
  const caWith = async (key: string): Promise<PemPair> => ({
    ...(await createCa({ network: 'x', days: 1 })),
    key,
  });
  const pem = { format: 'pem', type: 'pkcs8' } as const;

  for (const namedCurve of ['P-256', 'P-384', 'P-521']) {
    it(`may be of ${namedCurve}`, async () => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
      const issued = await issue({ ca: await caWith(privateKey.export(pem).toString()) });
      assert.ok(new X509Certificate(issued.certificate).verify(publicKey));
    });
  }

  it('may be RSA', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const issued = await issue({ ca: await caWith(privateKey.export(pem).toString()) });
    assert.ok(new X509Certificate(issued.certificate).verify(publicKey));
  });

  it('that cannot be read is an error of the configuration', async () => {
    await assert.rejects(issue({ ca: await caWith('no key') }), (error: Error) => {
      assert.ok(isReason(error, 'BAD_CONFIG'));
      assert.match(error.message, /the CA key cannot be read/);
      return true;
    });
  });
});

describe('a certificate of a client', () => {
  const client = (name: string) =>
    issueClientCertificate({ ca, network: 'testnet', name, days: 2, nowMs: NOW });

  it('names the application, for the client’s end of TLS alone', async () => {
    const { certificate: pem, key } = await client('app.1');
    const certificate = new X509Certificate(pem);
    assert.equal(certificate.subjectAltName, 'URI:spiffe://testnet/client/app.1');
    assert.equal(certificate.subject, 'CN=app.1');
    assert.ok(certificate.verify(new X509Certificate(ca.certificate).publicKey) && !certificate.ca);
    assert.ok(certificate.checkPrivateKey(createPrivateKey(key)));
    const extended = extension(pem, EXTENDED_KEY_USAGE) as x509.ExtendedKeyUsageExtension;
    assert.deepEqual([...extended.usages], [x509.ExtendedKeyUsage.clientAuth]);
    assert.equal(certificate.validToDate.getTime(), NOW + 2 * DAY_MS);
  });

  for (const name of ['', '.', '..', '../x', 'a/b', 'a b', 'ä', 'x'.repeat(65), '.hidden', 'a\n'])
    it(`cannot be called ${JSON.stringify(name)}`, async () => {
      await assert.rejects(client(name), (error) => isReason(error, 'BAD_REQUEST'));
    });
});
