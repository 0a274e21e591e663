import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type ConnectionOptions, connect, createServer, type TLSSocket } from 'node:tls';
import { createCa } from '#certs/issue.ts';
import { listen } from '#common/net/listen.ts';
import { clientCertificate } from '#test/helpers/client-certificate.ts';
import { PskClients } from './psk-clients.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-psk-'));
const path = join(folder, 'a.psk');
const psk = randomBytes(32);
writeFileSync(path, psk.toString('hex'));

const warned = Promise.withResolvers<void>();
const clients = new PskClients(
  { identities: { one: { path, system: 'router-a' } } },
  { info: () => undefined, warning: () => warned.resolve() },
  20,
);
const ca = await createCa({ network: 'keyweave', days: 1 });
const { certificate: cert, key } = await clientCertificate(ca, { subject: 'CN=a' });
const server = createServer({ cert, key, minVersion: 'TLSv1.3', pskCallback: clients.keyOf });
const address = await listen(server, { host: '127.0.0.1', port: 0 });
after(() => {
  server.close();
  clients.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Both ends of a connection that names the identity. */
async function connected(options: ConnectionOptions): Promise<{ client: TLSSocket; accepted: TLSSocket }> {
  const taken = once(server, 'secureConnection');
  const client = connect({
    ...{ ...address, ...options, rejectUnauthorized: false, checkServerIdentity: () => undefined },
  });
  client.on('error', () => undefined).resume();
  after(() => client.destroy());
  const [accepted] = (await taken) as [TLSSocket];
  accepted.on('error', () => undefined).resume();
  return { client, accepted };
}

describe('clients with pre-shared keys', () => {
  it('are who has the key of an identity, not who names it alone', async () => {
    // The server's keys go with SHA-256: with another suite the handshake goes on by its certificate.
    const named = await connected({
      ciphers: 'TLS_AES_256_GCM_SHA384',
      pskCallback: () => ({ identity: 'one', psk: randomBytes(32) }),
    });
    assert.equal(clients.add(named.accepted), false);
    assert.equal(clients.systemOf(named.accepted), undefined);
    const nobody = await connected({});
    assert.equal(clients.add(nobody.accepted), false);

    const known = await connected({
      ciphers: 'TLS_AES_128_GCM_SHA256',
      pskCallback: () => ({ identity: 'one', psk }),
    });
    assert.equal(clients.add(known.accepted), true);
    assert.equal(clients.systemOf(known.accepted), 'router-a');
  });

  it('are cut off when their key is replaced, and not by a file that holds none', async () => {
    const { accepted } = await connected({
      ciphers: 'TLS_AES_128_GCM_SHA256',
      pskCallback: () => ({ identity: 'one', psk }),
    });
    assert.ok(clients.add(accepted));
    writeFileSync(path, 'no key');
    await warned.promise;
    assert.equal(accepted.destroyed, false);
    writeFileSync(path, randomBytes(32).toString('hex'));
    await once(accepted, 'close');
    assert.equal(clients.systemOf(accepted), undefined);
  });
});
