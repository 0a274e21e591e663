import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createCa } from '#certs/issue.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { clientTrust } from '#common/tls/client-trust.ts';
import type { TlsIdentity } from '#common/tls/identity.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';
import { clientCertificate } from '#test/helpers/client-certificate.ts';

const HOUR_MS = 3_600_000;

let certificates: TestCertificates;
let identity: TlsIdentity;
let caPath: string;
before(async () => {
  certificates = await testCertificates();
  identity = await certificates.identity(ALICE, 'gateway');
  caPath = join(certificates.folder, 'clients.crt');
});
after(() => certificates.remove());

const refusalOf = (trust: TlsIdentity['trust'], pem: string) => trust.judge(new X509Certificate(pem)).refusal;

describe('whose clients a listener lets in', () => {
  it("is the network's CAs where no others are named", async () => {
    const trusted = clientTrust(identity, undefined, silentLog);
    assert.deepEqual(trusted.pems, identity.pems);
    assert.equal(trusted.trust, identity.trust);
    trusted.close();
  });

  it('are the CAs of the file alone, with the own certificate, and after a change those of the new one', async () => {
    const [first, second] = await Promise.all([1, 2].map(() => createCa({ network: 'apps', days: 1 })));
    assert.ok(first && second);
    const clients = await Promise.all(
      [first, second, certificates.ca].map((ca) => clientCertificate(ca, { subject: 'CN=app' })),
    );
    writeFileSync(caPath, first.certificate);
    const trusted = clientTrust(identity, caPath, silentLog, 10);
    try {
      assert.deepEqual([trusted.pems.cert, trusted.pems.key], [identity.pems.cert, identity.pems.key]);
      const refusals = () =>
        clients.map(({ certificate }) => refusalOf(trusted.trust, certificate) === undefined);
      assert.deepEqual(refusals(), [true, false, false]);
      const changed = new Promise<void>((resolve) => trusted.onChange(resolve));
      writeFileSync(caPath, second.certificate);
      await changed;
      assert.deepEqual(refusals(), [false, true, false]);
      assert.equal(String(trusted.pems.ca), second.certificate);
    } finally {
      trusted.close();
    }
  });

  it('are told of in the log when they come to their end', async () => {
    const ending = await createCa({ network: 'apps', days: 2, nowMs: Date.now() - 47 * HOUR_MS });
    writeFileSync(caPath, ending.certificate);
    const told: unknown[] = [];
    const tell = (msg: string, fields?: unknown) => told.push([msg, (fields as { path: string }).path]);
    clientTrust(identity, caPath, { ...silentLog, warning: tell, error: tell }).close();
    assert.deepEqual(told, [['a certificate ends within a day', caPath]]);
  });

  it('may be a client itself that has signed its certificate', async () => {
    const own = await createCa({ network: 'app', days: 1 });
    writeFileSync(caPath, own.certificate);
    const trusted = clientTrust(identity, caPath, silentLog);
    assert.equal(refusalOf(trusted.trust, own.certificate), undefined);
    trusted.close();
  });

  it('must be in a file that can be read', () => {
    for (const text of [undefined, 'no certificate']) {
      const path = join(certificates.folder, text === undefined ? 'missing.crt' : 'wrong.crt');
      if (text !== undefined) writeFileSync(path, text);
      assert.throws(
        () => clientTrust(identity, path, silentLog),
        (error) => isReason(error, 'BAD_CONFIG') && String(error).includes(path),
      );
    }
  });
});
