import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ensureNodeCertificates, issueFor, writeAtomically } from '#certs/ensure.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { appListenerTlsOptions } from '#common/tls/app-listener.ts';
import { caKeyPath, certificateFiles } from '#common/tls/certificate-files.ts';
import { loadTlsIdentity } from '#common/tls/identity.ts';
import { ALICE, BOB, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

describe('where certificates lie', () => {
  it("the peer-broker's are the configured ones, the others' stand beside them", () => {
    const { certificate_config } = certificates.config(ALICE);
    const change = { certificate_config: { ...certificate_config, key_path: '/keys/node.key' } };
    const config = certificates.config(ALICE, change);
    const caPath = join(certificates.folder, 'ca.crt');
    const folder = join(certificates.folder, ALICE);
    assert.deepEqual(certificateFiles(config, 'peer-broker'), {
      caPath,
      certPath: join(folder, 'node.crt'),
      keyPath: '/keys/node.key',
    });
    assert.deepEqual(certificateFiles(config, 'gateway'), {
      caPath,
      certPath: join(folder, 'gateway.crt'),
      keyPath: '/keys/gateway.key',
    });
  });

  it("the CA's key lies beside its certificate", () => {
    assert.equal(caKeyPath('/a/ca.crt'), '/a/ca.key');
    assert.equal(caKeyPath('/a.b/ca'), '/a.b/ca.key');
  });
});

describe('TLS towards applications', () => {
  it("is 1.3 with the gateway's certificate, hybrid first, and asks for theirs only where it is mutual", async () => {
    const config = certificates.config(ALICE);
    await ensureNodeCertificates(config, ['gateway'], silentLog);
    const { certPath, keyPath, caPath } = certificateFiles(config, 'gateway');
    const identity = loadTlsIdentity({ certPath, keyPath, caPath, log: silentLog });
    for (const mutual of [true, false])
      assert.deepEqual(appListenerTlsOptions(identity, mutual), {
        ca: readFileSync(caPath),
        cert: readFileSync(certPath),
        key: readFileSync(keyPath),
        minVersion: 'TLSv1.3',
        ecdhCurve: 'X25519MLKEM768:X25519',
        requestCert: mutual,
        rejectUnauthorized: mutual,
      });
    identity.close();
  });
});

describe('the names in a certificate', () => {
  const services = {
    gateway: { address: { host: 'gateway.inner', port: 1 } },
    'peer-broker': { address: { host: '10.20.0.0/16', port: 1 } },
  };
  const change = {
    services,
    peer_local_address: { host: 'peers.example', port: 1 },
    hybridization_server_address: { host: 'apps.example', port: 1 },
  };

  async function namesOf(service: string): Promise<string[]> {
    const config = certificates.config(BOB, change);
    await issueFor(config, service, 1);
    const { certPath } = certificateFiles(config, service);
    const names = new X509Certificate(readFileSync(certPath)).subjectAltName?.split(', ') ?? [];
    const everybodys = [
      /^URI:/,
      /^DNS:localhost$/,
      new RegExp(`^DNS:${BOB}$`),
      new RegExp(`^DNS:${service}$`),
    ];
    return names.filter((name) => !everybodys.some((pattern) => pattern.test(name)));
  }

  it('are those under which each service is reached; a subnet is no name', async () => {
    const address = 'IP Address:127.0.0.1';
    assert.deepEqual(await namesOf('gateway'), [address, 'DNS:gateway.inner', 'DNS:apps.example']);
    assert.deepEqual(await namesOf('peer-broker'), [address, 'DNS:peers.example']);
    assert.deepEqual(await namesOf('hybridizer'), [address]);
  });
});

describe('files of certificates', () => {
  const ensure = (config: Parameters<typeof ensureNodeCertificates>[0]) =>
    ensureNodeCertificates(config, ['hybridizer'], silentLog);
  const wrong = (words: RegExp) => (error: Error) => {
    assert.ok(isReason(error, 'BAD_CONFIG'), error.message);
    assert.match(error.message, words);
    return true;
  };

  async function issued(uuid: string) {
    const config = certificates.config(uuid);
    await issueFor(config, 'hybridizer', 1);
    return { config, ...certificateFiles(config, 'hybridizer') };
  }

  it('are readable: the certificate for everybody, the key for its owner alone or as asked', async () => {
    const { config, certPath, keyPath } = await issued('dddddddd-dddd-dddd-dddd-dddddddddddd');
    const modes = () => [certPath, keyPath].map((path) => statSync(path).mode & 0o777);
    assert.deepEqual(modes(), [0o644, 0o600]);
    rmSync(keyPath);
    await issueFor(config, 'hybridizer', 1, { keyMode: 0o640 });
    assert.deepEqual(modes(), [0o644, 0o640]);
  });

  it('that are lost in part are not made anew, since somebody may want the rest', async () => {
    const { config, keyPath, certPath } = await issued('eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee');
    rmSync(keyPath);
    await assert.rejects(ensure(config), wrong(/missing .*hybridizer\.key; put .*ca\.key beside/));
    writeFileSync(keyPath, 'x');
    rmSync(certPath);
    await assert.rejects(ensure(config), wrong(/missing .*hybridizer\.crt; put/));
  });

  it('that are no PEM are named', async () => {
    const { config, keyPath, certPath } = await issued('ffffffff-ffff-ffff-ffff-ffffffffffff');
    writeFileSync(keyPath, 'half a key');
    await assert.rejects(ensure(config), wrong(/hybridizer\.key: is not a PEM private key/));
    writeFileSync(certPath, 'half a certificate');
    await assert.rejects(ensure(config), wrong(/hybridizer\.crt: is not a PEM certificate/));
  });

  it('whose certificate names nobody are refused', async () => {
    const { config, certPath } = await issued('abababab-abab-abab-abab-abababababab');
    writeFileSync(certPath, certificates.ca.certificate);
    await assert.rejects(ensure(config), wrong(/hybridizer\.crt: names nobody, not spiffe:/));
  });

  it('whose certificate only claims to be of the CA are refused', async () => {
    const uuid = 'cdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd';
    const { config, certPath, keyPath } = await issued(uuid);
    // Another CA of the same name: the issuer fits, the signature does not.
    const other = await testCertificates();
    const theirs = other.config(uuid);
    await issueFor(theirs, 'hybridizer', 1);
    const files = certificateFiles(theirs, 'hybridizer');
    writeFileSync(certPath, readFileSync(files.certPath));
    writeFileSync(keyPath, readFileSync(files.keyPath));
    other.remove();
    await assert.rejects(ensure(config), wrong(/hybridizer\.crt: was not issued by the CA in/));
  });

  it('whose certificate was changed are refused', async () => {
    const { config, certPath } = await issued('efefefef-efef-efef-efef-efefefefefef');
    const { raw } = new X509Certificate(readFileSync(certPath));
    raw[raw.length - 1] = (raw.at(-1) as number) ^ 1;
    const pem = raw.toString('base64').replaceAll(/.{64}/g, '$&\n');
    writeFileSync(certPath, `-----BEGIN CERTIFICATE-----\n${pem}\n-----END CERTIFICATE-----\n`);
    await assert.rejects(ensure(config), wrong(/hybridizer\.crt: was not issued by the CA in/));
  });

  it('of another node are refused by name', async () => {
    const { certPath, keyPath } = await issued(ALICE);
    const theirs = certificateFiles(certificates.config(BOB), 'hybridizer');
    writeFileSync(theirs.certPath, readFileSync(certPath));
    writeFileSync(theirs.keyPath, readFileSync(keyPath));
    const words = new RegExp(`names spiffe://keyweave/node/${ALICE}/hybridizer, not spiffe://.*${BOB}`);
    await assert.rejects(ensure(certificates.config(BOB)), wrong(words));
  });

  it('that cannot be read are an error of the configuration', async () => {
    const { certificate_config } = certificates.config(ALICE);
    const nowhere = { ...certificate_config, cert_authority_path: '/nowhere/ca.crt' };
    await assert.rejects(
      ensure(certificates.config(ALICE, { certificate_config: nowhere })),
      wrong(/missing \/nowhere\/ca\.crt; make a CA with 'keyweave certs ca --out \/nowhere'/),
    );
  });

  it('are made with their folder and leave nothing half written beside them', () => {
    const folder = join(certificates.folder, 'new', 'folder');
    writeAtomically(join(folder, 'a'), 'one', 0o600);
    writeAtomically(join(folder, 'a'), 'two', 0o600);
    assert.equal(readFileSync(join(folder, 'a'), 'utf8'), 'two');
    mkdirSync(join(folder, 'b'));
    assert.throws(() => writeAtomically(join(folder, 'b'), 'three', 0o600));
  });
});
