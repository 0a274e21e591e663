import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { SERVICE_NAMES } from '#common/config/node-config.ts';
import { spiffeId, spiffeIdOfCertificate } from '#common/tls/spiffe.ts';
import { issueNetwork } from './issue-network.ts';

const UUIDS = {
  Alice: 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa',
  Bob: 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
} as const;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyweave-issue-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function writeConfig(name: keyof typeof UUIDS, network = 'keyweave'): string {
  const home = join(folder, 'config', name);
  mkdirSync(home, { recursive: true });
  const path = join(home, 'config.json');
  const config = {
    uuid: UUIDS[name],
    certificate_config: {
      certificate_ip: '10.10.11.245',
      cert_authority_path: '/run/keyweave/root.crt',
      cert_path: '/run/keyweave/node.crt',
      key_path: '/run/keyweave/node.key',
      network,
    },
    hybridization_server_address: { host: '10.10.11.245', port: 65_430 },
    qkd_address: { host: 'kme', port: 54_001 },
    peer_local_address: { host: '10.10.12.0/24', port: 3001 },
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

const optionsFor = (configs: string[]) => ({
  configs,
  caFolder: join(folder, 'ca'),
  outFolder: join(folder, 'out'),
  days: 90,
  keyMode: 0o640,
});

describe('issueNetwork', () => {
  it('gives each service a folder of its own, with its key alone and never the key of the CA', async () => {
    const issued = await issueNetwork(optionsFor([writeConfig('Alice'), writeConfig('Bob')]));
    assert.equal(issued.length, 10);
    const ca = new X509Certificate(readFileSync(join(folder, 'ca', 'ca.crt')));
    for (const name of ['Alice', 'Bob'] as const) {
      for (const service of SERVICE_NAMES) {
        const home = join(folder, 'out', name, service);
        const base = service === 'peer-broker' ? 'node' : service;
        assert.deepEqual(readdirSync(home).sort(), [`${base}.crt`, `${base}.key`, 'root.crt'].sort());
        const certificate = new X509Certificate(readFileSync(join(home, `${base}.crt`)));
        assert.ok(certificate.verify(ca.publicKey));
        assert.equal(spiffeIdOfCertificate(certificate), spiffeId('keyweave', UUIDS[name], service));
        assert.doesNotMatch(certificate.subjectAltName ?? '', /10\.10\.12\.0/, 'a subnet is no name');
        const key = join(home, `${base}.key`);
        assert.ok(certificate.checkPrivateKey(createPrivateKey(readFileSync(key))));
        assert.equal(statSync(key).mode & 0o777, 0o640);
      }
    }
    assert.equal(statSync(join(folder, 'ca', 'ca.key')).mode & 0o777, 0o600);
  });

  it('leaves what is good alone, and issues what is missing, near its end or of another CA', async () => {
    const options = optionsFor([writeConfig('Alice')]);
    await issueNetwork(options);
    assert.deepEqual(await issueNetwork(options), []);
    const lost = join(folder, 'out', 'Alice', 'gateway', 'gateway.key');
    rmSync(lost);
    assert.deepEqual(await issueNetwork(options), [lost.replace(/key$/, 'crt')]);
    assert.equal(
      (await issueNetwork({ ...options, days: 300 })).length,
      5,
      'less than a third of 300 days is left',
    );
    rmSync(options.caFolder, { recursive: true });
    assert.equal((await issueNetwork({ ...options, days: 300 })).length, 5, 'the CA is another one');
  });

  it('gives a server that is no part of a node a certificate that is good for a server alone, once', async () => {
    const options = { ...optionsFor([writeConfig('Alice')]), servers: ['collector'] };
    const path = join(folder, 'out', 'collector', 'server.crt');
    assert.ok((await issueNetwork(options)).includes(path));
    const certificate = new X509Certificate(readFileSync(path));
    assert.ok(certificate.verify(new X509Certificate(readFileSync(join(folder, 'ca', 'ca.crt'))).publicKey));
    assert.equal(certificate.subjectAltName, 'DNS:collector');
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
    const key = path.replace(/crt$/, 'key');
    assert.ok(certificate.checkPrivateKey(createPrivateKey(readFileSync(key))));
    assert.equal(statSync(key).mode & 0o777, 0o640);
    assert.deepEqual(await issueNetwork(options), []);
    rmSync(key);
    assert.deepEqual(await issueNetwork(options), [path]);
  });

  it('refuses nodes of different networks', async () => {
    const configs = [writeConfig('Alice'), writeConfig('Bob', 'other')];
    await assert.rejects(
      issueNetwork(optionsFor(configs)),
      /must be the same at all nodes, not keyweave, other/,
    );
  });
});
