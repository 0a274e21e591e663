import 'reflect-metadata';
import assert from 'node:assert/strict';
import { KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it, type TestContext } from 'node:test';
import * as x509 from '@peculiar/x509';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { spiffeIdOfCertificate } from '#common/tls/spiffe.ts';
import { ensureNodeCertificates, issueFor } from './ensure.ts';
import { createCa, type PemPair } from './issue.ts';

const root = mkdtempSync(join(tmpdir(), 'keyweave-ensure-'));
after(() => rmSync(root, { recursive: true }));
const log = { info: () => undefined };
const SERVICES = ['gateway', 'qkd-source', 'pqc-source', 'peer-broker', 'hybridizer'];
let folders = 0;

async function nodeWithCa(options: { withKey?: boolean; uuid?: string } = {}) {
  const folder = join(root, String(folders++));
  mkdirSync(join(folder, 'ca'), { recursive: true });
  const ca = await createCa({ network: 'keyweave', days: 2 });
  writeFileSync(join(folder, 'ca', 'ca.crt'), ca.certificate);
  if (options.withKey ?? true) writeFileSync(join(folder, 'ca', 'ca.key'), ca.key);
  return { folder, ca, config: configIn(folder, options.uuid) };
}

function configIn(folder: string, uuid = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa') {
  const address = { host: '127.0.0.1', port: 1 };
  return nodeConfigSchema.parse({
    uuid,
    certificate_config: {
      certificate_ip: '10.1.2.3',
      cert_authority_path: join(folder, 'ca', 'ca.crt'),
      cert_path: join(folder, 'certs', 'node.crt'),
      key_path: join(folder, 'certs', 'node.key'),
    },
    hybridization_server_address: address,
    qkd_address: address,
    peer_local_address: address,
  });
}

describe('ensureNodeCertificates', () => {
  it('issues what is missing with the key beside the CA, for every service, and leaves it alone afterwards', async () => {
    const { folder, config } = await nodeWithCa();
    await ensureNodeCertificates(config, SERVICES, log);
    const read = (name: string) => readFileSync(join(folder, 'certs', name), 'utf8');
    const certificate = new X509Certificate(read('node.crt'));
    assert.equal(spiffeIdOfCertificate(certificate), `spiffe://keyweave/node/${config.uuid}/peer-broker`);
    assert.match(certificate.subjectAltName ?? '', /IP Address:10\.1\.2\.3/);
    assert.equal(statSync(join(folder, 'certs', 'gateway.key')).mode & 0o777, 0o600);
    const first = read('gateway.crt');
    await ensureNodeCertificates(config, SERVICES, log);
    assert.equal(read('gateway.crt'), first);
  });

  it('issues with an RSA CA, as the reference makes them', async () => {
    const { folder, config } = await nodeWithCa();
    const rsa = await rsaCa();
    writeFileSync(join(folder, 'ca', 'ca.crt'), rsa.certificate);
    writeFileSync(join(folder, 'ca', 'ca.key'), rsa.key);
    await ensureNodeCertificates(config, ['gateway'], log);
    const issued = new X509Certificate(readFileSync(join(folder, 'certs', 'gateway.crt')));
    assert.ok(issued.verify(new X509Certificate(rsa.certificate).publicKey));
  });

  it('issues with the CA that the key is of, where there are several, and with no other', async () => {
    const { folder, config, ca } = await nodeWithCa();
    const newer = await createCa({ network: 'keyweave', days: 2 });
    const [caPath, keyPath] = [join(folder, 'ca', 'ca.crt'), join(folder, 'ca', 'ca.key')];
    writeFileSync(caPath, `${ca.certificate}\n${newer.certificate}`);
    writeFileSync(keyPath, newer.key);
    await ensureNodeCertificates(config, ['gateway'], log);
    const issued = new X509Certificate(readFileSync(join(folder, 'certs', 'gateway.crt')));
    assert.ok(issued.verify(new X509Certificate(newer.certificate).publicKey));
    writeFileSync(caPath, ca.certificate);
    await assert.rejects(issueFor(config, 'hybridizer', 1), /ca\.key: belongs to no CA in .*ca\.crt/);
    await assert.rejects(ensureNodeCertificates(config, ['gateway'], log), /was not issued by the CA/);
  });

  it('says what is missing and how to get it when it cannot issue', async () => {
    const { config } = await nodeWithCa({ withKey: false });
    await assert.rejects(
      ensureNodeCertificates(config, SERVICES, log),
      /missing .*gateway\.crt.*keyweave certs issue/,
    );
    const nowhere = configIn(join(root, 'nowhere'));
    await assert.rejects(
      ensureNodeCertificates(nowhere, SERVICES, log),
      /missing .*ca\.crt; make a CA with 'keyweave certs ca/,
    );
  });

  it('refuses certificates of another node, expired ones, and keys that do not fit', async () => {
    const { folder, config } = await nodeWithCa();
    await ensureNodeCertificates(config, SERVICES, log);
    const other = configIn(folder, 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb');
    await assert.rejects(ensureNodeCertificates(other, SERVICES, log), /each node needs a folder of its own/);
    writeFileSync(
      join(folder, 'certs', 'gateway.key'),
      readFileSync(join(folder, 'certs', 'hybridizer.key')),
    );
    await assert.rejects(ensureNodeCertificates(config, SERVICES, log), /gateway\.key: does not belong/);
  });

  describe('near or past the end of a certificate', () => {
    /** A gateway's certificate of a day, of a CA of two, looked at later. */
    async function later(t: TestContext, hours: number, withKey: boolean) {
      const node = await nodeWithCa();
      await issueFor(node.config, 'gateway', 1);
      const { now } = Date;
      t.mock.method(Date, 'now', () => now() + hours * 3_600_000);
      if (!withKey) rmSync(join(node.folder, 'ca', 'ca.key'));
      const end = () =>
        new X509Certificate(readFileSync(join(node.folder, 'certs', 'gateway.crt'))).validToDate.getTime();
      const ensure = () => ensureNodeCertificates(node.config, ['gateway'], log);
      return { end, ensure, folder: node.folder };
    }

    it('renews it, for as long as it had, where the key lies beside the CA', async (t) => {
      for (const hours of [17, 30]) {
        const { end, ensure } = await later(t, hours, true);
        const before = end();
        await ensure();
        const gained = (end() - before) / 3_600_000;
        assert.ok(Math.abs(gained - hours) < 0.1, `${hours} h later it lives ${gained} h longer`);
        t.mock.restoreAll();
      }
    });

    it('leaves it alone while more than a third of its life is left', async (t) => {
      const { end, ensure } = await later(t, 15, true);
      const before = end();
      await ensure();
      assert.equal(end(), before);
    });

    it('refuses it without that key once it is over, by name, date and what to do', async (t) => {
      await (await later(t, 23, false)).ensure();
      t.mock.restoreAll();
      const { ensure } = await later(t, 25, false);
      const words =
        /gateway\.crt: the certificate of spiffe:.*\/gateway expired on 20.*Z; .*certs renew --config/;
      await assert.rejects(ensure(), words);
    });

    it('starts with what is still good where it cannot be renewed', async (t) => {
      const { ensure, end, folder } = await later(t, 17, true);
      const before = end();
      writeFileSync(join(folder, 'ca', 'ca.key'), 'no key');
      await ensure();
      assert.equal(end(), before);
    });

    it('refuses to start with a CA that is over', async (t) => {
      const { ensure } = await later(t, 49, true);
      await assert.rejects(ensure(), /ca\.crt: the certificate of CN=Keyweave CA keyweave expired on/);
    });
  });
});

/** A CA as the reference's script makes it, with an RSA key. */
async function rsaCa(): Promise<PemPair> {
  const algorithm = {
    name: 'RSASSA-PKCS1-v1_5',
    hash: 'SHA-256',
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
  };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=Root',
    keys,
    signingAlgorithm: algorithm,
    notAfter: new Date(Date.now() + 86_400_000),
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  const key = KeyObject.from(keys.privateKey).export({ format: 'pem', type: 'pkcs1' }).toString();
  return { certificate: certificate.toString('pem'), key };
}
