import 'reflect-metadata';
import assert from 'node:assert/strict';
import { webcrypto, X509Certificate } from 'node:crypto';
import { describe, it } from 'node:test';
import * as x509 from '@peculiar/x509';
import { createCa, importCaKey, issueServiceCertificate, pemText } from '#certs/issue.ts';
import { issuerIdentityOf, readRevocationLists, serialOf } from '#common/tls/x509/revocation-list.ts';

x509.cryptoProvider.set(webcrypto as never);

const NOW = Date.UTC(2030, 0, 15, 12);
const DAY_MS = 86_400_000;
const ca = await createCa({ network: 'testnet', days: 10, nowMs: NOW });
const parsedCa = new X509Certificate(ca.certificate);

/** A list of the CA as PEM. */
async function listOf(change: Partial<x509.X509CrlCreateParams> = {}): Promise<string> {
  const { key: signingKey, algorithm } = await importCaKey(ca.key);
  const list = await x509.X509CrlGenerator.create({
    issuer: new x509.X509Certificate(ca.certificate).subjectName,
    thisUpdate: new Date(NOW),
    nextUpdate: new Date(NOW + DAY_MS),
    entries: [
      { serialNumber: '0a', revocationDate: new Date(NOW) },
      { serialNumber: '00ff01', revocationDate: new Date(NOW), reason: x509.X509CrlReason.keyCompromise },
    ],
    signingAlgorithm: algorithm,
    signingKey,
    ...change,
  });
  return pemText('X509 CRL', Buffer.from(list.rawData));
}

const derOf = (pem: string) => Buffer.from(pem.replaceAll(/-----.*-----/g, ''), 'base64');
const asPem = (der: Buffer) => pemText('X509 CRL', der);

describe('a revocation list', () => {
  it('is read: issuer, dates and serial numbers, as certificates have them', async () => {
    const [list] = readRevocationLists(await listOf());
    assert.deepEqual(list?.issuer, issuerIdentityOf(parsedCa).name);
    assert.deepEqual([list?.thisUpdateMs, list?.nextUpdateMs], [NOW, NOW + DAY_MS]);
    assert.deepEqual([...(list?.serials ?? [])], ['A', 'FF01']);
    assert.equal(list?.keyId, undefined);
  });

  it('may revoke nothing, and name no next one; dates after 2049 have another form', async () => {
    const late = new Date(Date.UTC(2061, 1, 3, 4, 5, 6));
    const [list] = readRevocationLists(await listOf({ entries: [], thisUpdate: late }));
    assert.equal(list?.serials.size, 0);
    assert.equal(list?.thisUpdateMs, late.getTime());
  });

  it('is believed by the key that has signed it alone', async () => {
    const [list] = readRevocationLists(await listOf());
    const other = new X509Certificate((await createCa({ network: 'testnet', days: 10 })).certificate);
    assert.equal(list?.isSignedBy(parsedCa.publicKey), true);
    assert.equal(list?.isSignedBy(other.publicKey), false);
  });

  it('is believed with no byte changed', async () => {
    const der = derOf(await listOf());
    let read = 0;
    for (let at = 0; at < der.length; at++) {
      const changed = Buffer.from(der);
      changed[at] = (changed[at] as number) ^ 0x01;
      let lists: ReturnType<typeof readRevocationLists>;
      try {
        lists = readRevocationLists(asPem(changed));
      } catch {
        continue;
      }
      read++;
      assert.equal(lists[0]?.isSignedBy(parsedCa.publicKey), false, `byte ${at}`);
    }
    assert.ok(read > 50, 'hardly one was read');
  });

  it('that is cut off, at whatever byte, is an error', async () => {
    const der = derOf(await listOf());
    for (let length = 0; length < der.length; length++)
      assert.throws(() => readRevocationLists(asPem(der.subarray(0, length))), RangeError, `${length} bytes`);
    assert.throws(() => readRevocationLists(asPem(Buffer.concat([der, Buffer.of(0)]))), /something follows/);
  });

  it('of a part only says so in a critical extension, and is refused', async () => {
    const critical = new x509.Extension('2.5.29.27', true, Buffer.of(0x02, 0x01, 0x01));
    const pem = await listOf({ extensions: [critical] });
    assert.throws(
      () => readRevocationLists(pem),
      /critical extension that is not known here \(2\.5\.29\.27\)/,
    );
    const plain = new x509.Extension('2.5.29.20', false, Buffer.of(0x02, 0x01, 0x01));
    assert.equal(readRevocationLists(await listOf({ extensions: [plain] }))[0]?.serials.size, 2);
    const entry = {
      serialNumber: '0a',
      extensions: [new x509.Extension('2.5.29.29', true, Buffer.of(5, 0))],
    };
    const indirect = await listOf({ entries: [entry] });
    assert.throws(() => readRevocationLists(indirect), /critical extension .*2\.5\.29\.29/);
  });

  it('tells the identifier of the key that has signed it, which the CA has, too', async () => {
    const issuer = new x509.X509Certificate(ca.certificate);
    const pem = await listOf({ extensions: [await x509.AuthorityKeyIdentifierExtension.create(issuer)] });
    const { keyId } = issuerIdentityOf(parsedCa);
    assert.equal(keyId?.length, 20);
    assert.deepEqual(readRevocationLists(pem)[0]?.keyId, keyId);
  });

  it('stands with others in one file; a file without one is an error', async () => {
    const two = `text before\n${await listOf()}\n${await listOf({ entries: [] })}`;
    assert.deepEqual(
      readRevocationLists(two).map(({ serials }) => serials.size),
      [2, 0],
    );
    for (const [text, words] of [
      ['', /holds no PEM of a certificate revocation list/],
      [ca.certificate, /holds no PEM of a certificate revocation list/],
      ['-----BEGIN X509 CRL-----\nAAAA', /no -----END X509 CRL-----/],
      ['x'.repeat(8 * 1024 * 1024 + 1), /more than 8388608 bytes/],
    ] as const)
      assert.throws(() => readRevocationLists(text), words);
  });
});

describe('the serial number of a certificate', () => {
  it('has no zeros in front, as in the lists', async () => {
    const names = { network: 'x', nodeUuid: 'x', service: 'x', names: [] };
    const { certificate } = await issueServiceCertificate({ ca, ...names, days: 1 });
    const parsed = new X509Certificate(certificate);
    assert.equal(serialOf(parsed), parsed.serialNumber);
    assert.equal(serialOf({ serialNumber: '000A1B' } as X509Certificate), 'A1B');
    assert.equal(serialOf({ serialNumber: '00' } as X509Certificate), '0');
  });
});
