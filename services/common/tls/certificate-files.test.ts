import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { NodeConfig } from '#common/config/node-config.ts';
import { caKeyPath, certificateFiles } from '#common/tls/certificate-files.ts';

const config = {
  certificate_config: {
    cert_authority_path: '/ca/ca.crt',
    cert_path: '/certs/node.crt',
    key_path: '/keys/node.key',
  },
} as NodeConfig;

describe("a service's certificate files", () => {
  it('are the configured ones for the peer-broker, and lie beside them for the others, named after the service', () => {
    assert.deepEqual(certificateFiles(config, 'peer-broker'), {
      caPath: '/ca/ca.crt',
      certPath: '/certs/node.crt',
      keyPath: '/keys/node.key',
    });
    assert.deepEqual(certificateFiles(config, 'gateway'), {
      caPath: '/ca/ca.crt',
      certPath: '/certs/gateway.crt',
      keyPath: '/keys/gateway.key',
    });
  });

  it("find the CA's key beside its certificate, whatever its ending", () => {
    assert.equal(caKeyPath('/ca/ca.crt'), '/ca/ca.key');
    assert.equal(caKeyPath('/ca.d/root.pem'), '/ca.d/root.key');
    assert.equal(caKeyPath('/ca.d/root'), '/ca.d/root.key');
  });
});
