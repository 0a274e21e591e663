import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type ConnectionOptions, connect } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { eventually, type LocalNode, nodeUuid, twoNodes } from '../helpers/network.ts';
import { RestClient } from '../helpers/rest-client.ts';

const [ALICE, BOB] = [nodeUuid(0), nodeUuid(1)];

/** Routers of Alice, and of Bob; the last of each uses a pre-shared key. */
const SYSTEMS = {
  'router-a': { node: ALICE },
  'psk-a': { node: ALICE },
  'router-b': { node: BOB },
  'router-b2': { node: BOB },
  'psk-b': { node: BOB },
};
const SAES = { 'router-a': { node: ALICE }, 'router-b': { node: BOB } };

const folder = mkdtempSync(join(tmpdir(), 'keyweave-psk-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const [pskFile, pskB] = [join(folder, 'a.psk'), join(folder, 'b.psk')];
const [secretA, secretB] = [randomBytes(32), randomBytes(32)];
writeFileSync(pskFile, `${secretA.toString('hex')}\n`);
writeFileSync(pskB, secretB.toString('hex'));

const { network, alice, bob } = await twoNodes({
  config: (name) => ({
    listeners: {
      rest: { port: 0, saes: SAES },
      skip: {
        ...{ port: 0, systems: SYSTEMS },
        psk: {
          identities:
            name === 'Alice'
              ? { 'psk-a': { path: pskFile } }
              : { 'router B': { path: pskB, system: 'psk-b' } },
        },
      },
    },
  }),
});

const clients: RestClient[] = [];
after(() => {
  for (const client of clients) client.disconnect();
});

function clientOf(address: Address | undefined, tls: ConnectionOptions): RestClient {
  const client = new RestClient(address as Address, tls);
  clients.push(client);
  return client;
}

async function pemOf(name: string): Promise<ConnectionOptions> {
  const read = (file: string) => readFileSync(join(network.folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const { certificate, key } = await clientCertificate(ca, { subject: `CN=${name}` });
  return { ca: ca.certificate, cert: certificate, key };
}

const router = async (name: string, { skip }: LocalNode) => clientOf(skip, await pemOf(name));

function pskOptions(identity: string, psk: Buffer, ciphers: string): ConnectionOptions {
  const maxVersion = ciphers.startsWith('TLS_') ? 'TLSv1.3' : 'TLSv1.2';
  return { ciphers, maxVersion, pskCallback: () => ({ identity, psk }), rejectUnauthorized: true };
}

const [a, b, b2] = await Promise.all([
  router('router-a', alice),
  router('router-b', bob),
  router('router-b2', bob),
]);

const codeOf = async (client: RestClient, path: string) => (await client.get(path)).code;

describe('SKIP', () => {
  it('tells each router which systems it may share keys with', async () => {
    const { code, body } = await a.get('/capabilities');
    assert.deepEqual(
      [code, body],
      [
        200,
        {
          ...{ entropy: true, key: true, algorithm: 'hkdf-sha384(ML-KEM-768,QKD)' },
          ...{ localSystemID: 'router-a', remoteSystemID: ['router-b', 'router-b2', 'psk-b'] },
        },
      ],
    );
    assert.deepEqual((await b.get('/capabilities')).body.remoteSystemID, ['router-a', 'psk-a']);
  });

  it('gives both routers the same key, once each, in both directions', async () => {
    for (const [one, other, id, otherId] of [
      [a, b, 'router-a', 'router-b'],
      [b, a, 'router-b', 'router-a'],
    ] as const) {
      const { code, body } = await one.get(`/key?remoteSystemID=${otherId}`);
      assert.equal(code, 200, JSON.stringify(body));
      assert.match(String(body.keyId), /^[0-9a-f]{32}$/);
      assert.match(String(body.key), /^[0-9a-f]{64}$/);
      const path = `/key/${body.keyId}?remoteSystemID=${id}`;
      assert.deepEqual(await other.get(path), { code: 200, body, keys: [] });
      assert.equal(await codeOf(other, path), 400, 'it is erased');
    }
  });

  it('gives keys of the size that is asked for, and refuses others', async () => {
    for (const size of [128, 512]) {
      const { body } = await a.get(`/key?remoteSystemID=router-b&size=${size}`);
      assert.equal(String(body.key).length, size / 4);
      const same = await b.get(`/key/${body.keyId}?remoteSystemID=router-a`);
      assert.equal(same.body.key, body.key);
    }
    for (const size of ['0', '12', '56', '8192', '-8', 'x', '']) {
      assert.equal(await codeOf(a, `/key?remoteSystemID=router-b&size=${size}`), 400, size);
    }
  });

  it('keeps a key from every system but the one that it was made for', async () => {
    const { body } = await a.get('/key?remoteSystemID=router-b');
    const stranger = await b2.get(`/key/${body.keyId}?remoteSystemID=router-a`);
    const nobodys = await b2.get(`/key/${'0'.repeat(32)}?remoteSystemID=router-a`);
    assert.deepEqual(stranger, nobodys, 'it is told as of one that nobody knows');
    assert.equal(stranger.code, 400);
    assert.equal(await codeOf(b, `/key/${body.keyId}?remoteSystemID=psk-a`), 400, 'of another system');
    assert.equal(await codeOf(a, `/key/${body.keyId}?remoteSystemID=router-b`), 400, 'the one that has it');
    const upper = String(body.keyId).toUpperCase();
    const fetched = await b.get(`/key/${upper}/?remotesystemid=router-a`);
    assert.deepEqual(fetched.body, body, 'in other letters');
  });

  it('never gives out keys of ETSI GS QKD 014, nor are its own had there, and says so', async () => {
    const [pemA, pemB] = await Promise.all([pemOf('router-a'), pemOf('router-b')]);
    const [restA, restB] = [clientOf(alice.rest, pemA), clientOf(bob.rest, pemB)];
    const { keys } = await restA.get('router-b/enc_keys');
    const id = keys[0]?.id as string;
    const overSkip = await b.get(`/key/${id.replaceAll('-', '')}?remoteSystemID=router-a`);
    assert.equal(overSkip.code, 400);
    assert.match(String(overSkip.body.message), /keys of ETSI GS QKD 014 can be had over that API alone/);
    assert.equal((await restB.get(`router-a/dec_keys?key_ID=${id}`)).code, 200, 'it is still there');

    const { body } = await a.get('/key?remoteSystemID=router-b');
    const uuid = String(body.keyId).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    const overRest = await restB.get(`router-a/dec_keys?key_ID=${uuid}`);
    assert.equal(overRest.code, 400);
    assert.match(JSON.stringify(overRest.body.details), /keys of SKIP can be had over SKIP alone/);
    assert.equal(await codeOf(b, `/key/${body.keyId}?remoteSystemID=router-a`), 200, 'it is still there');
  });

  it('gives random bytes', async () => {
    for (const [query, minentropy, digits] of [
      ['', 256, 64],
      ['?minentropy=8', 8, 2],
      ['?minentropy=4096', 4_096, 1_024],
      ['?minentropy=100', 104, 26],
    ] as const) {
      const { code, body } = await a.get(`/entropy${query}`);
      assert.deepEqual([code, body.minentropy, String(body.randomStr).length], [200, minentropy, digits]);
      assert.match(String(body.randomStr), /^[0-9a-f]+$/);
    }
    for (const query of ['?minentropy=0', '?minentropy=4097', '?minentropy=x']) {
      assert.equal(await codeOf(a, `/entropy${query}`), 400, query);
    }
  });

  it('refuses what is malformed, other verbs and other paths, and serves on', async () => {
    for (const path of [
      '/key',
      '/key?remoteSystemID=',
      '/key?remoteSystemID=nobody',
      '/key?remoteSystemID=psk-a',
      '/key?remoteSystemID=router-b&remoteSystemID=router-b',
      '/key?remoteSystemID=router-b&remoteSystemId=router-b2',
      '/key/123?remoteSystemID=router-b',
      `/key/${'g'.repeat(32)}?remoteSystemID=router-b`,
      '/key/%ff?remoteSystemID=router-b',
    ]) {
      const { code, body } = await a.get(path);
      assert.deepEqual([code, typeof body.message], [400, 'string'], path);
    }
    for (const verb of ['POST', 'PUT', 'DELETE', 'HEAD']) {
      assert.equal((await a.send(verb, '/key?remoteSystemID=router-b')).code, 405, verb);
    }
    for (const path of ['/', '/keys', '/key/a/b', '/capabilities/x'])
      assert.equal(await codeOf(a, path), 404);
    assert.equal(await codeOf(a, '/key?remoteSystemID=router-b'), 200);
  });

  it('lets in systems of its own node alone', async () => {
    const [ofBob, nobody] = await Promise.all([router('router-b', alice), router('nobody', alice)]);
    for (const client of [ofBob, nobody]) assert.equal(await codeOf(client, '/capabilities'), 401);
    const { ca } = await pemOf('x');
    await assert.rejects(clientOf(alice.skip, { ca }).get('/capabilities'), 'without a certificate');
  });
});

describe('SKIP with pre-shared keys', () => {
  const SUITES = [
    'TLS_AES_128_GCM_SHA256',
    'TLS_CHACHA20_POLY1305_SHA256',
    'DHE-PSK-AES256-GCM-SHA384',
    'ECDHE-PSK-AES128-CBC-SHA256',
    'PSK-AES256-GCM-SHA384',
    'PSK-AES128-GCM-SHA256',
  ];

  for (const suite of SUITES) {
    it(`gives keys over ${suite}`, async () => {
      const one = clientOf(alice.skip, pskOptions('psk-a', secretA, suite));
      const other = clientOf(bob.skip, pskOptions('router B', secretB, suite));
      const { code, body } = await one.get('/key?remoteSystemID=psk-b');
      assert.equal(code, 200, JSON.stringify(body));
      assert.deepEqual((await other.get(`/key/${body.keyId}?remoteSystemID=psk-a`)).body, body);
      assert.equal((await other.get('/capabilities')).body.localSystemID, 'psk-b');
    });
  }

  it('refuses a wrong key and an unknown identity', async () => {
    for (const suite of ['TLS_AES_128_GCM_SHA256', 'PSK-AES256-GCM-SHA384']) {
      for (const [identity, psk] of [
        ['psk-a', secretB],
        ['psk-b', secretA],
      ] as const) {
        const client = clientOf(alice.skip, pskOptions(identity, psk, suite));
        await assert.rejects(client.get('/capabilities'), suite);
      }
    }
  });

  it('refuses one that names an identity in a handshake that goes on without its key', async () => {
    // Keys of this server go with SHA-256: with another suite the name alone comes.
    const socket = connect({
      ...(alice.skip as Address),
      ...{ minVersion: 'TLSv1.3', ciphers: 'TLS_AES_256_GCM_SHA384', rejectUnauthorized: false },
      pskCallback: () => ({ identity: 'psk-a', psk: secretB }),
      checkServerIdentity: () => undefined,
    });
    socket.on('error', () => undefined);
    let text = '';
    socket.on('data', (data) => {
      text += data;
    });
    socket.write('GET /capabilities HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'close');
    assert.equal(text, '');
  });

  it('asks those without a pre-shared key for a certificate of TLS 1.3', async () => {
    const pem = await pemOf('router-a');
    await assert.rejects(clientOf(alice.skip, { ...pem, maxVersion: 'TLSv1.2' }).get('/capabilities'));
    assert.equal(await codeOf(clientOf(alice.skip, pem), '/capabilities'), 200);
  });

  it('takes a new key up when its file changes, and ends the connections of the old one', async () => {
    const suite = 'TLS_AES_128_GCM_SHA256';
    const before = clientOf(alice.skip, pskOptions('psk-a', secretA, suite));
    assert.equal(await codeOf(before, '/capabilities'), 200);
    const secret = randomBytes(48);
    writeFileSync(pskFile, secret.toString('hex').toUpperCase());
    await eventually('the new key', 30_000, async () => {
      const client = clientOf(alice.skip, pskOptions('psk-a', secret, suite));
      return (await codeOf(client, '/capabilities').catch(() => 0)) === 200 || undefined;
    });
    await assert.rejects(before.get('/capabilities'), 'with the old key');
    writeFileSync(pskFile, secretA.toString('hex'));
  });

  it('tells no pre-shared key in any log', () => {
    const log = readFileSync(join(network.nodes[0]?.folder ?? '', 'hybrid.log'), 'utf8');
    assert.match(log, /a pre-shared key was replaced/);
    assert.ok(!log.includes(secretA.toString('hex')) && !log.includes(secretA.toString('base64')));
  });
});
