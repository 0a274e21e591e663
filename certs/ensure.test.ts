import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { spiffeIdOfCertificate } from '#common/tls/spiffe.ts';
import { ensureNodeCertificates, issueFor } from './ensure.ts';
import { createCa } from './issue.ts';

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

  it('issues with an RSA CA key, as the reference makes them', async () => {
    const { folder, config, ca } = await nodeWithCa();
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    writeFileSync(join(folder, 'ca', 'ca.key'), privateKey.export({ format: 'pem', type: 'pkcs1' }));
    await issueFor(config, 'gateway', 1);
    const issued = new X509Certificate(readFileSync(join(folder, 'certs', 'gateway.crt')));
    assert.equal(issued.issuer, new X509Certificate(ca.certificate).subject);
    // The certificate of this CA is of another key: a start notices.
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
    await issueFor(config, 'gateway', -0.001);
    await assert.rejects(ensureNodeCertificates(config, SERVICES, log), /gateway\.crt: expired/);
    await issueFor(config, 'gateway', 1);
    writeFileSync(
      join(folder, 'certs', 'gateway.key'),
      readFileSync(join(folder, 'certs', 'hybridizer.key')),
    );
    await assert.rejects(ensureNodeCertificates(config, SERVICES, log), /gateway\.key: does not belong/);
  });
});
