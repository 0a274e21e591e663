import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { createCa, type PemPair } from '#certs/issue.ts';
import { type ClientNames, clientCertificate } from '#test/helpers/client-certificate.ts';
import { clientIdentity } from './client-identity.ts';

let ca: PemPair;
before(async () => {
  ca = await createCa({ network: 'test', days: 1 });
});

async function identityOf(subject: string, ...names: NonNullable<ClientNames['names']>) {
  return clientIdentity(new X509Certificate((await clientCertificate(ca, { subject, names })).certificate));
}

const url = (value: string) => ({ type: 'url', value }) as const;
const dns = (value: string) => ({ type: 'dns', value }) as const;

describe('the identity of a client certificate', () => {
  it('is its SPIFFE URI, wherever that stands', async () => {
    const names = [
      dns('app'),
      url('https://example.org/app'),
      url('spiffe://apps/billing'),
      url('spiffe://b'),
    ];
    assert.equal(await identityOf('CN=app', ...names), 'spiffe://apps/billing');
  });

  it('is else another URI, else a DNS name, else the common name, each of a kind of its own', async () => {
    assert.equal(await identityOf('CN=app', dns('app'), url('urn:app:1')), 'urn:app:1');
    assert.equal(
      await identityOf('CN=app', { type: 'ip', value: '10.0.0.1' }, dns('App.Example')),
      'DNS:app.example',
    );
    assert.equal(await identityOf('CN=app', url('CN:admin'), url('dns:admin'), dns('app')), 'DNS:app');
    assert.equal(await identityOf('CN=app,O=Example'), 'CN:app');
    assert.equal(await identityOf('CN=app', { type: 'email', value: 'app@example.org' }), 'CN:app');
  });

  it('is nobody where nothing names it, or two common names do', async () => {
    assert.equal(await identityOf('O=Example'), undefined);
    assert.equal(await identityOf('O=Example', { type: 'ip', value: '10.0.0.1' }), undefined);
    assert.equal(await identityOf('CN=app,CN=other'), undefined);
  });

  it('is not another’s because a name looks like two', async () => {
    for (const separator of [', ', ',', '\n', '", ']) {
      const name = `x${separator}URI:spiffe://apps/billing${separator}y`;
      const identity = await identityOf('CN=app', dns(name));
      assert.notEqual(identity, 'spiffe://apps/billing');
      assert.match(identity ?? '', /^DNS:/);
    }
    assert.notEqual(await identityOf('CN=URI:spiffe://apps/billing'), 'spiffe://apps/billing');
  });
});
