import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { issueFor } from '#certs/ensure.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { certificateFiles } from '#common/tls/certificate-files.ts';
import { loadTlsIdentity } from '#common/tls/identity.ts';
import { ALICE, type TestCertificates, testCertificates } from '#test/helpers/certificates.ts';
import { startEtsi004Json } from './frontend.ts';

let certificates: TestCertificates;
before(async () => {
  certificates = await testCertificates();
});
after(() => certificates.remove());

describe('the JSON listener over TLS', () => {
  it('presents a renewed certificate without a restart', async () => {
    const config = certificates.config(ALICE, {
      listeners: { json: { tls: 'server' } },
      hybridization_server_address: { host: '127.0.0.1', port: 0 },
    });
    const started = await certificates.context(config, 'gateway');
    const files = certificateFiles(config, 'gateway');
    const identity = loadTlsIdentity({ ...files, log: silentLog, pollMs: 20 });
    const listener = await startEtsi004Json({ ...started, identity }, {} as never);
    const presented = async () => {
      const socket = tlsConnect({ ...listener.listening.json, ca: certificates.ca.certificate });
      await once(socket, 'secureConnect');
      const { serialNumber } = socket.getPeerX509Certificate() as X509Certificate;
      socket.destroy();
      return serialNumber;
    };
    const inFile = () => new X509Certificate(readFileSync(files.certPath)).serialNumber;
    try {
      const first = await presented();
      assert.equal(first, inFile());
      const reloaded = new Promise<void>((resolve) => identity.onChange(resolve));
      await issueFor(config, 'gateway', 1);
      await reloaded;
      assert.equal(await presented(), inFile());
      assert.notEqual(inFile(), first);
    } finally {
      await listener.stop();
      identity.close();
    }
  });
});
